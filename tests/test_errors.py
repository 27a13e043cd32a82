from __future__ import annotations

import pickle

import pytest

import kmexport
from kmexport import PropertySet, errors

EXAMPLES = [
    errors.KmExportError("anything"),
    errors.BucketNotFoundError("s3://acme", "there is no index.csv"),
    errors.BucketUnreachableError("s3://acme", "the storage did not answer"),
    errors.EmptyListingError("s3://acme", 473),
    errors.RevisionNotFoundError("revisions/7.json"),
    errors.RevisionChangedError("revisions/7.json", "it was written over"),
    errors.OtherProcessError("the iterator"),
    errors.ExecutorError("a worker ended by itself", "Give it more memory"),
    errors.StatusFormatError("status.csv", 2, "total revisions", "a whole number belongs there"),
    errors.IndexFormatError("index.csv", 1, None, "no header"),
    errors.EntangledLinesError("revisions/7.json"),
    errors.IdentityMapFormatError("people.jsonl", 2, None, "the line is not JSON"),
    errors.CursorFormatError("cursor.json", 1, None, "this is no cursor"),
    errors.CursorConflictError("cursor.json"),
    errors.LakeFormatError("s3://acme-lake", "the table records was not made by kmexport"),
    errors.LakeNotFoundError("s3://acme-lake", "there is no table records"),
    errors.UnknownNameError("event", "singed up", ["signed up"]),
    errors.FactsDatabaseError("facts.duckdb", "it is locked", "Close it in the other process"),
    errors.FactsMemoryError("/tmp/spill", "could not allocate a block"),
    errors.OtherFactsError("facts.duckdb", "holds other tables"),
    errors.FactsLeftOutError("the table properties", "properties=False"),
    errors.LateRecordError(PropertySet("bob", 1), 90, 60),
    errors.MalformedRecordError("revisions/7.json", 3, "there is no _p", b"{}"),
]


def test_every_class_has_an_example():
    assert {type(error).__name__ for error in EXAMPLES} == set(errors.__all__)
    assert set(errors.__all__) <= set(kmexport.__all__)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_cross_process_borders_whole(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


# A name that nobody has is at no place.
PLACED = [error for error in EXAMPLES[1:] if not isinstance(error, errors.UnknownNameError)]


@pytest.mark.parametrize("error", PLACED, ids=lambda error: type(error).__name__)
def test_errors_are_sentences_with_the_place(error):
    assert str(error).endswith(".")
    place = (
        getattr(error, "source", None)
        or getattr(error, "url", None)
        or getattr(error, "path", None)
        or getattr(error, "what", None)
        or ("executor=" if isinstance(error, errors.ExecutorError) else None)
        or repr(error.record)
    )
    assert str(error).startswith(place)


def test_missing_things_are_file_not_found_errors():
    assert isinstance(EXAMPLES[1], FileNotFoundError)
    assert isinstance(EXAMPLES[3], FileNotFoundError)
    assert isinstance(EXAMPLES[4], FileNotFoundError)
    assert EXAMPLES[1].filename == "s3://acme"
