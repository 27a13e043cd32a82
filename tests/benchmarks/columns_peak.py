"""Runs in a process of its own: prints peak MB over the imports, rows and seconds of all columns of an export."""

from __future__ import annotations

import sys
import time

import duckdb  # noqa: F401  # whoever reads columns has it loaded
import pyarrow as pa  # noqa: F401

import kmexport.tables  # noqa: F401
from kmexport import Bucket
from tests.benchmarks.large import REVISIONS, MadeUp, Plain
from tests.benchmarks.peak import peak_bytes


def main(lines: int) -> None:
    bucket = Bucket("/", fs=Plain(MadeUp(lines // REVISIONS)))
    imported, start = peak_bytes(), time.perf_counter()
    rows = sum(batch.num_rows for batch in bucket.to_batches())
    print((peak_bytes() - imported) / 1e6, rows, time.perf_counter() - start)


if __name__ == "__main__":
    main(int(sys.argv[1]))
