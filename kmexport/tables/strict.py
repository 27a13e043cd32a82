"""The strict rule: which records hold the same as one before them, spelt in the same way or in another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from kmexport.duplicates import canonical_form
from kmexport.format.hashes import read_properties
from kmexport.records import PropertySet

__all__ = ["repeated_records"]


def repeated_records(candidates: Iterable[pa.RecordBatch]) -> Iterator[int]:
    """The `seq` of each record that came before. Candidates come group by group, in the order of their arrival."""
    group = None
    texts: set[str] = set()
    forms: set[bytes] = set()
    for batch in candidates:
        columns = (batch.column(name).to_pylist() for name in ("twin", "seq", "properties"))
        for twin, seq, text in zip(*columns, strict=True):
            if twin != group:
                group, texts, forms = twin, {text}, set()
            elif text in texts:
                yield seq
            else:
                # Most records that come twice come word for word: only others are parsed.
                forms = forms or {_form(next(iter(texts)))}
                form = _form(text)
                if form in forms:
                    yield seq
                forms.add(form)
                texts.add(text)


def _form(text: str) -> bytes:
    """One text for properties that are equal, whatever their order and spelling."""
    return canonical_form(PropertySet("", 0, read_properties(text.encode())))
