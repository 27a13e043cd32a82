"""Other people's tools over columns and facts: what docs/tools.md says of them, and `scan_polars`."""

from __future__ import annotations

import doctest
import operator
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from kmexport import Alias, Bucket, Event, LineCounts, MalformedRecordError, PropertySet, Record, Window
from kmexport.tables import SCHEMA, scan_polars, to_records
from kmexport.testing import BROKEN_LINES, write_export
from tests.support.strategies import examples

START = 1349222400  # 2012-10-03, in UTC
NAMES = ["signed up", "Signed Up", "purchased", "sign:ed", "sign ed", "straße", "STRASSE", ""]
TIMES = st.integers(START - 4, START + 4)
PERSONS = st.sampled_from(["bob", "eve"])
PROPERTIES = st.dictionaries(st.sampled_from(["plan", "Plan", "price"]), st.sampled_from(["Pro", 7, "7", 1.5, None]))
RECORDS = st.one_of(
    st.builds(Event, PERSONS, TIMES, st.sampled_from(NAMES), PROPERTIES),
    st.builds(PropertySet, PERSONS, TIMES, PROPERTIES),
    st.builds(Alias, PERSONS, TIMES, PERSONS, PROPERTIES),
)
EXPORTS = st.dictionaries(st.integers(1, 9), st.lists(RECORDS, min_size=2, max_size=8), max_size=4)

LITERALS = st.one_of(
    st.builds(
        lambda seconds, microseconds, zone: pl.lit(
            (datetime(2012, 10, 3, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=microseconds)).astimezone(zone)
        ),
        st.integers(-5, 5),
        st.sampled_from([0, 0, 0, 0, 0, 1, 500_000]),
        st.just(UTC),
    ),
    st.builds(
        lambda number, unit: pl.lit(number, pl.Int64).cast(pl.Datetime(unit, "UTC")),
        st.integers(START * 10**9 - 2, START * 10**9 + 2),
        st.sampled_from(["ns"]),
    ),
    st.just(pl.lit(None, pl.Datetime("ms", "UTC"))),
)
COMPARISONS = st.sampled_from([operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
CLOSED = st.sampled_from(["both", "left", "right", "none"])
KINDS = st.sampled_from(["event", "property_set", "alias"])
TEXTS = {"name": st.sampled_from([*NAMES, "SIGNED UP", "other"]), "alias": PERSONS, "person": PERSONS, "kind": KINDS}


@st.composite
def leaves(draw: st.DrawFn) -> pl.Expr:
    """A predicate of one column."""
    column = draw(st.sampled_from(["time", "time", "time", "revision", "name", "kind", "alias", "person", "plan"]))
    if column == "time":
        zone = draw(st.sampled_from([None, None, None, "America/New_York", "Asia/Kolkata"]))
        if zone is None:
            return draw(_compared(pl.col("time"), LITERALS))
        literals = LITERALS.map(lambda literal: literal.dt.convert_time_zone(zone))
        return draw(_compared(pl.col("time").dt.convert_time_zone(zone), literals))
    if column == "revision":
        return draw(_compared(pl.col(column), st.integers(-1, 10).map(pl.lit)))
    if column == "plan":
        return draw(st.sampled_from([pl.col("plan") == "Pro", pl.col("plan").is_null(), pl.col("price") > 2]))
    texts = TEXTS[column]
    return draw(
        st.one_of(
            st.builds(lambda text: pl.col(column) == text, texts),
            st.builds(lambda text: pl.lit(text) == pl.col(column), texts),
            st.builds(lambda text: pl.col(column) != text, texts),
            st.builds(lambda some: pl.col(column).is_in(some), st.lists(texts, max_size=3)),
            st.builds(lambda text: pl.col(column).is_in([None, text]), texts),
            st.builds(lambda text: pl.col(column).eq_missing(pl.lit(text)), texts),
            st.sampled_from([pl.col(column).is_null(), pl.col(column).is_not_null()]),
            st.sampled_from([pl.col(column).str.to_lowercase() == "signed up"] if column != "kind" else [pl.lit(True)]),
        )
    )


def _compared(column: pl.Expr, literals: st.SearchStrategy[pl.Expr]) -> st.SearchStrategy[pl.Expr]:
    return st.one_of(
        st.builds(lambda compare, literal: compare(column, literal), COMPARISONS, literals),
        st.builds(lambda compare, literal: compare(literal, column), COMPARISONS, literals),
        st.builds(lambda low, high, closed: column.is_between(low, high, closed=closed), literals, literals, CLOSED),
    )


PREDICATES = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds(operator.and_, inner, inner), st.builds(operator.or_, inner, inner), st.builds(operator.inv, inner)
    ),
    max_leaves=5,
)
FILTERS = PREDICATES.map(lambda predicate: lambda frame: frame.filter(predicate))
OTHER_STEPS = st.one_of(
    st.builds(lambda count: lambda frame: frame.head(count), st.integers(0, 6)),
    st.builds(lambda start, count: lambda frame: frame.slice(start, count), st.integers(0, 3), st.integers(0, 3)),
    st.just(lambda frame: frame.with_columns(pl.col("time") + timedelta(seconds=1))),
    st.just(lambda frame: frame.reverse()),
)
STEPS = st.one_of(
    FILTERS.map(lambda step: [step]),
    st.tuples(OTHER_STEPS, FILTERS),
    st.lists(st.one_of(FILTERS, OTHER_STEPS), min_size=2, max_size=4),
)
SELECTED = st.none() | st.lists(st.sampled_from([*SCHEMA.names, "plan", "price"]), min_size=1, unique=True)
TYPES = {"plan": pa.string(), "price": pa.float64()}


@given(
    EXPORTS,
    STEPS,
    SELECTED,
    st.sampled_from(["in-memory", "streaming"]),
    st.just({})
    | st.fixed_dictionaries(
        {},
        optional={
            "window": st.builds(lambda start, length: Window(start, start + length), TIMES, st.integers(0, 5)),
            "names": st.lists(st.sampled_from(NAMES), max_size=2),
            "kinds": st.sampled_from([Event, [Alias, PropertySet], []]),
            "after": st.integers(0, 9),
            "people": st.sampled_from(["bob", ["eve"], ["bob", "eve"], []]),
        },
    ),
)
@settings(max_examples=examples(100))
@pytest.mark.slow
def test_a_query_over_the_frame_is_one_over_the_whole(export, steps, selected, engine, arguments):
    bucket = write_export("memory://tools", export)
    whole = scan_polars(bucket, properties=TYPES, **arguments).collect()
    assert list(to_records(whole)) == list(bucket.iter_records(**arguments))

    def query(frame: Any) -> Any:
        frame = reduce(lambda before, step: step(before), steps, frame)
        return frame if selected is None else frame.select(selected)

    pushed = query(scan_polars(bucket, properties=TYPES, **arguments)).collect(engine=engine)
    assert_frame_equal(pushed, query(whole))


def at(seconds: float, zone: str = "UTC") -> datetime:
    return datetime.fromtimestamp(START + seconds, ZoneInfo(zone))


READING_ERRORS = (MalformedRecordError, pl.exceptions.ComputeError)


class TestScan:
    @pytest.fixture
    def bucket(self) -> Bucket:
        """Three revisions, a day each; the second and the third end with a broken line."""
        days = {
            number: [Event("bob", START + (number - 1) * 86_400 + n, "signed up", {"plan": "Pro"}) for n in range(3)]
            for number in (1, 2, 3)
        }
        broken = BROKEN_LINES["cut off"]
        return write_export("memory://tools", {1: days[1], 2: [*days[2], broken], 3: [*days[3], broken]})

    def test_other_files_are_not_opened(self, bucket):
        frame = scan_polars(bucket, Window(START, START + 3), margin=0).collect()
        assert frame["revision"].to_list() == [1, 1, 1]
        assert scan_polars(bucket, revisions=[1]).collect().height == 3
        with pytest.raises(READING_ERRORS, match=r"revisions/3\.json, line 4"):
            scan_polars(bucket, after=2).collect()

    def test_filters_apply_to_what_was_read(self, bucket):
        of_the_first_day = pl.col("time") < at(3)
        assert scan_polars(bucket, on_error="skip").filter(of_the_first_day).collect().height == 3
        with pytest.raises(READING_ERRORS, match=r"revisions/2\.json, line 4"):
            scan_polars(bucket).filter(of_the_first_day).collect()

    def test_lines_of_other_names_are_not_parsed(self):
        counts, expected = LineCounts(), LineCounts()
        purchases = list(Bucket.sample().iter_records(names="purchased", counts=expected))
        frame = scan_polars(Bucket.sample(), names="purchased", counts=counts).collect()
        assert list(to_records(frame)) == purchases
        assert counts == expected
        assert counts.passed > counts.records

    @pytest.mark.parametrize("engine", ["in-memory", "streaming"])
    def test_it_stops_after_the_first_rows(self, bucket, engine):
        assert scan_polars(bucket).head(3).collect(engine=engine).height == 3
        # The first three rows are chosen first, the filter comes behind.
        assert scan_polars(bucket).head(3).filter(pl.col("time") > at(1)).collect(engine=engine).height == 1

    @pytest.mark.parametrize("engine", ["in-memory", "streaming"])
    @pytest.mark.skipif(pl.__version__ < "2", reason="Polars before 2 makes an error of its own of it, with its text")
    def test_an_error_comes_out_as_itself(self, bucket, engine):
        with pytest.raises(MalformedRecordError) as caught:
            scan_polars(bucket).collect(engine=engine)
        assert (caught.value.source, caught.value.line_number) == ("revisions/2.json", 4)
        errors: list[MalformedRecordError] = []
        assert scan_polars(bucket, on_error=errors.append).collect(engine=engine).height == 9
        assert [error.source for error in errors] == ["revisions/2.json", "revisions/3.json"]

    def test_types(self, bucket):
        types = {"plan": pa.string(), "price": pa.decimal128(9, 2), "n": pa.int8(), "Yes": pa.bool_()}
        records = scan_polars(bucket, properties=types, on_error="skip")
        assert records.collect_schema() == {
            "revision": pl.Int64,
            "line": pl.Int64,
            "kind": pl.Enum(["event", "property_set", "alias"]),
            "person": pl.String,
            "time": pl.Datetime("ms", "UTC"),
            "name": pl.String,
            "alias": pl.String,
            "properties": pl.String,
            "plan": pl.String,
            "price": pl.Decimal(9, 2),
            "n": pl.Int8,
            "Yes": pl.Boolean,
        }
        assert records.collect().schema == records.collect_schema()
        assert records.select("Yes", "plan", "kind").collect().columns == ["Yes", "plan", "kind"]
        assert records.select(pl.len()).collect().item() == 9

    def test_no_files(self):
        empty = write_export("memory://tools", {})
        assert scan_polars(empty).collect().schema == scan_polars(empty).collect_schema()

    def test_it_reads_at_each_collect(self):
        bucket = write_export("memory://tools", {1: [Event("bob", START, "x")]})
        records = scan_polars(bucket)
        assert records.collect().height == 1
        write_export("memory://tools", {1: [Event("bob", START, "x")], 2: [Event("bob", START, "x")]})
        assert records.collect().height == 2

    def test_an_executor(self):
        with ThreadPoolExecutor(2) as executor:
            records = scan_polars(Bucket.sample(), executor=executor, properties=["product"])
            one = scan_polars(Bucket.sample(), properties=["product"])
            assert_frame_equal(records.collect(), one.collect())
            assert_frame_equal(records.filter(name="purchased").collect(), one.filter(name="purchased").collect())
            assert_frame_equal(records.head(7).collect(engine="streaming"), one.head(7).collect())

    def test_it_holds_no_iterators(self, bucket):
        records = scan_polars(
            bucket,
            properties=iter(["plan"]),
            revisions=iter([1]),
            kinds=iter([Event]),
            names=iter(["Signed up"]),
            people=iter(["bob"]),
        )
        assert records.collect().height == records.collect().height == 3

    def test_what_polars_calls_can_be_pickled(self):
        from kmexport.columns.polars import _Source

        source = _Source(Bucket.sample(), {}, None, {"names": "purchased", "on_error": "skip"})
        again = pickle.loads(pickle.dumps(source))
        purchases = sum(1 for _ in Bucket.sample().iter_records(names="purchased"))
        assert sum(frame.height for frame in again(["person"], None, None, None)) == purchases > 0

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            (lambda: scan_polars("s3://acme"), TypeError, r"not str: scan_polars\(Bucket\(url\)\)"),
            (lambda: scan_polars([Event("bob", 1, "x")]), TypeError, "reads a Bucket, not list"),
            (lambda: scan_polars(Bucket.sample(), "2012-10-03"), TypeError, "a Window belongs there"),
            (lambda: scan_polars(Bucket.sample(), properties=["kind"]), ValueError, "two columns"),
            (lambda: scan_polars(Bucket.sample(), properties={"plan": str}), TypeError, "Arrow"),
            (lambda: scan_polars(Bucket.sample(), kinds=dict), TypeError, "kinds"),
            (lambda: scan_polars(Bucket.sample(), names=7), TypeError, "names"),
            (lambda: scan_polars(Bucket.sample(), revisions=7), TypeError, r"write \[7\]"),
            (lambda: scan_polars(Bucket.sample(), on_error="ignore"), ValueError, "on_error"),
            (lambda: scan_polars(Bucket.sample(), margin=-1), ValueError, "margin"),
            (lambda: scan_polars(Bucket.sample(), column="kind"), TypeError, "column"),
        ],
    )
    def test_arguments_are_checked_at_the_call(self, arguments: Callable[[], object], error, text):
        with pytest.raises(error, match=text):
            arguments()

    def test_from_a_web_server(self, web):
        url, folder = web
        records: list[Record] = [Event("bob", START + n, "x" if n % 3 else "y") for n in range(1_000)]
        write_export(folder / "tools", {1: records, 2: records})
        frame = scan_polars(Bucket(f"{url}/tools")).filter(name="y").collect(engine="streaming")
        assert frame.height == 668

    def test_without_polars(self):
        code = """
import sys
sys.modules["polars"] = None
from kmexport import Bucket
from kmexport.tables import scan_polars
try:
    scan_polars(Bucket.sample())
except ImportError as error:
    print(error, error.name)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "scan_polars needs polars: pip install 'kmexport[polars]' polars"

    def test_the_import_of_tables_loads_no_polars(self):
        code = "import sys, kmexport.tables; print('polars' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"


DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "tools.md"


def from_page(name: str) -> Callable[..., Any]:
    """A function that the page defines."""
    parsed = doctest.DocTestParser().get_examples(PAGE.read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for example in parsed:
        if example.source.startswith(("import ", f"def {name}")):
            exec(example.source, found)
    function: Callable[..., Any] = found[name]
    return function


class TestParquetByDay:
    @pytest.mark.slow
    def test_memory_does_not_grow_with_the_export(self, tmp_path):
        code = """
import sys
from pathlib import Path
import pyarrow as pa
from kmexport import Bucket, Event
from kmexport.testing import write_export
from tests.contracts.test_tools import from_page

folder, count = Path(sys.argv[1]), int(sys.argv[2])
for number in range(count):
    events = [Event(f"p{n % 999}", 1349222400 + number * 7200 + n // 9, "x", {"q": "v" * 50}) for n in range(50_000)]
    bucket = write_export(folder / "export", {number + 1: events}) if not number else bucket
    if number:
        text = (folder / "export/revisions/1.json").read_bytes()
        (folder / f"export/revisions/{number + 1}.json").write_bytes(text)
from_page("write_by_day")(bucket.to_batches(), folder / "days")
print(pa.default_memory_pool().max_memory(), sum(batch.nbytes for batch in bucket.to_batches()))
"""
        command = [sys.executable, "-c", code, str(tmp_path), "12"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PAGE.parent.parent)
        peak, whole = map(int, done.stdout.split())
        assert peak < whole / 4

    def test_a_second_run_is_an_error(self, tmp_path):
        write_by_day = from_page("write_by_day")
        write_by_day(Bucket.sample().to_batches(), tmp_path / "days")
        with pytest.raises(pa.ArrowInvalid, match="Could not write to"):
            write_by_day(Bucket.sample().to_batches(), tmp_path / "days")

    def test_a_broken_line_comes_out(self, tmp_path):
        bucket = write_export("memory://tools", {1: [Event("bob", START, "x"), BROKEN_LINES["cut off"]]})
        with pytest.raises(MalformedRecordError, match=r"revisions/1\.json, line 2"):
            from_page("write_by_day")(bucket.to_batches(), tmp_path / "days")


@pytest.mark.slow
class TestRecordsOrColumns:
    # Of the page: a row and its column. Of docs/measured.md: the table, and the row that it quotes.
    @pytest.mark.parametrize(
        ("row", "column", "table", "measured"),
        [
            ("read who, when and what of each line", 1, "columns", "iter_records"),
            ("read who, when and what of each line", 2, "columns", "kind, person, time, name, alias, line"),
            ("the same and one property", 2, "columns", "the same and one property"),
            ("the same and all properties, as JSON", 2, "columns", "the same and all properties as JSON"),
            ("people and times of one event", 1, "facts", "people and times of one event name.*: over objects"),
            (
                "people and times of one event",
                2,
                "facts",
                "people and times of one event name, classic, from nothing read",
            ),
            (
                "all events and properties that count, classic",
                1,
                "facts",
                "events and properties, classic: over objects",
            ),
            ("all events and properties that count, classic", 2, "facts", "events and properties, classic"),
            ("all events and properties that count, strict", 1, "facts", "events and properties, strict: over objects"),
            ("all events and properties that count, strict", 2, "facts", "events and properties, strict"),
            ("a profile", 1, "facts", "profile: over objects"),
        ],
    )
    def test_ratios_are_those_that_were_measured(self, row, column, table, measured):
        quoted = [
            line.split("|")[column + 1].strip()
            for line in (DOCS / "records-or-columns.md").read_text(encoding="utf-8").splitlines()
            if line.startswith(f"| {row}")
        ]
        performance = (DOCS / "measured.md").read_text(encoding="utf-8")
        _, _, rows = performance.partition(f"\n### {table}: ")
        rows, _, _ = rows.partition("\n### ")
        ratios = re.findall(rf"^\| {measured} \|[^|]*\|[^|]*\| ([\d.]+) \|", rows, re.MULTILINE)
        assert len(quoted) == len(ratios) == 1
        ratio = float(ratios[0])
        text = f"docs/measured.md has {ratio} for {measured!r}: write {ratio:.1f} in docs/records-or-columns.md"
        assert float(quoted[0]) == pytest.approx(ratio, rel=0.1), text
