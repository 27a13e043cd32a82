"""The nightly job of docs/schedulers.md ends with 0, run after run, on a machine that is kept busy. Run by
`nox -s endings`.

Its first run fills a lake, all others find nothing new; four busy loops run beside them. KMEXPORT_ENDINGS is how many
runs there are (300), and KMEXPORT_ENDINGS_MINUTES in how many minutes they have to be over (60).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from schedulers import blocks

RUNS = int(os.environ.get("KMEXPORT_ENDINGS", "300"))
MINUTES = float(os.environ.get("KMEXPORT_ENDINGS_MINUTES", "60"))
BUSY = 4


def main() -> None:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        job = Path(folder) / "nightly.py"
        job.write_text(blocks()["nightly"], encoding="utf-8")
        for _ in range(BUSY):
            loop = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(loop.kill)
        codes: Counter[int] = Counter()
        for _ in range(RUNS):
            left = 60 * MINUTES - (time.monotonic() - begun)
            done = subprocess.run([sys.executable, job], check=False, timeout=left, stdout=subprocess.DEVNULL)
            codes[done.returncode] += 1
    seconds = time.monotonic() - begun
    print(f"{RUNS} runs beside {BUSY} busy loops in {seconds:.0f} s, by their return codes: {dict(codes)}")
    assert codes == {0: RUNS}, codes


if __name__ == "__main__":
    main()
