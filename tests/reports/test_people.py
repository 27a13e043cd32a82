"""Results against the CSV files of the vendor's pages: what is the same, what differs, and what can't be read."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmexport import Bucket, Event, Facts, PropertySet, Window, reports
from kmexport.reports import Show, did
from tests.support.strategies import examples

DAYS = Window.days("2012-10-01", "2012-10-05", "America/New_York")


@pytest.fixture(scope="module")
def sample():
    with Facts(Bucket.sample()) as facts:
        yield facts


@pytest.fixture
def file(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "page.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_the_same_numbers(sample, file):
    found = reports.event_counts(sample, "signed up", DAYS, every="day")
    text = "Date,People,Times\n" + "".join(f"{row.label},{row.people},{row.times}\n" for row in found.rows)
    compared = reports.compare(found, file(text), columns={"Date": "day"})
    assert (compared.same, compared.rows, compared.only_here, compared.only_there) == (10, (), (), ())
    assert compared.notes == ("Only here: the column average.",)


@pytest.mark.parametrize("name", [3, reports.Split("plan")])
def test_a_column_of_an_event_has_its_name(name):
    with pytest.raises(TypeError, match=r"the name of an event or a property is text"):
        Show("times", name)


def test_cells_and_rows_that_differ(sample, file):
    found = reports.event_counts(sample, "signed up", by="plan")
    text = "PLAN,people,Average,Colour\nFree,70,1.09,red\nPro,45,1.18,blue\nHuge,1,1,green\n"
    compared = reports.compare(found, file(text))
    [row] = compared.rows
    assert (row.row, row.column, row.ours, row.theirs, row.difference) == (("Free",), "people", 68, 70, -2)
    assert (compared.same, compared.only_here, compared.only_there) == (3, (("Team",),), (("Huge",),))
    assert str(compared).splitlines() == [
        "3 cells are the same, 1 differs; 1 row only here, 1 only in the file",
        "  row   column  ours  theirs  difference", "  Free  people  68    70              -2",
        "Only here: the column times.", "Only in the file: the column Colour.", "Only here: Team.",
        "Only in the file: Huge.",
    ]  # fmt: skip
    assert compared.to_dict()["rows"][0]["theirs"] == 70
    assert "Free" in compared._repr_html_()
    assert compared.to_arrow().num_rows == 1


def test_the_vendors_people_search(sample, tmp_path, file):
    shows = [Show("first_time", "signed up"), Show("times", "visited site"), Show("last_value", "plan")]
    found = reports.people(sample, did("purchased"), columns=shows)
    found.to_csv(tmp_path / "people.csv")
    compared = reports.compare(found, tmp_path / "people.csv")
    assert (compared.same, compared.rows, compared.notes) == (3 * found.people, (), ())
    # Exports before May 2013 wrote unix seconds.
    few = reports.people(Facts([Event("bob", 1234567890, "x")]), columns=[Show("first_time", "x")])
    for text in ("1234567890", "2009-02-13 23:31:30", "1234567891"):
        compared = reports.compare(few, file(f"Person,x: first time\nbob,{text}\n"))
        assert compared.same == (text != "1234567891")
    with pytest.raises(ValueError, match=r"line 2: '13\.02\.2009' is not a time such as"):
        reports.compare(few, file("person,x first time\nbob,13.02.2009\n"))
    assert reports.compare(few, file("person,x first time\nbob,13.02.2009\n"), dates="%d.%m.%Y").rows[0].difference > 0


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("33.3%", True), ("33%", True), ("33.34%", False), ("0.333", True), ("0.33", True), ("-", False), ("", False),
        ("34%", False),
    ],
)  # fmt: skip
def test_a_number_is_the_same_at_the_digits_that_are_written(text, same, file):
    facts = Facts([*(Event(person, 1, "x") for person in "abc"), Event("a", 2, "y")])
    compared = reports.compare(reports.conversion(facts, "x", "y"), file(f"Rate\n{text}\n"))
    assert compared.same == same


def test_thousands_signs_and_currencies(file):
    facts = Facts(
        [PropertySet("a", 1, {"n": 1234.5}), PropertySet("b", 1, {"n": -1000}), PropertySet("b", 2, {"n": 0})]
    )
    found = reports.property_total(facts, "n", by="Customer ID")
    text = '\ufeffcustomer id;Total;values\na;"$1,234.50";1\nb;-$1,000;2\n'
    assert reports.compare(found, file(text)).same == 4
    assert reports.compare(found, file(text, "utf-16")).same == 4
    for wrong in ("1.234,50", "1,23", "12 34", "one", "--5", "1e3"):
        with pytest.raises(ValueError, match=r"line 2: .* is not a number such as 1,234.50 or 51.9%"):
            reports.compare(found, file(f'customer id,total\na,"{wrong}"\n'))


@pytest.mark.parametrize(
    "day", ["2012-10-03", "Oct 3, 2012", "October 3, 2012", "3 Oct 2012", "week of Oct 3, 2012", "2012-10-03 00:00:00"]
)
def test_days(day, file):
    found = reports.event_counts([Event("a", 1349222400, "x")], "x", Window.day("2012-10-03"), every="day")
    assert reports.compare(found, file(f'Day,People\n"{day}",1\n')).same == 1
    assert reports.compare(found, file("Day,People\n10/3/2012,1\n"), dates="%m/%d/%Y").same == 1
    with pytest.raises(ValueError, match="line 2: '10/3/2012' is not a day that can be read in one way only: dates="):
        reports.compare(found, file("Day,People\n10/3/2012,1\n"))
    monthly = reports.event_counts([Event("a", 1349222400, "x")], "x", every="month")
    for month in ("2012-10", "Oct 2012"):
        assert reports.compare(monthly, file(f"Month,People\n{month},1\n")).same == 1


def test_who_has_no_value_is_none(file):
    found = reports.event_counts([Event("a", 1, "x"), Event("b", 1, "x", {"plan": ""})], "x", by="plan")
    compared = reports.compare(found, file("plan,people\nNone,1\n,2\n"))
    assert (compared.same, compared.rows[0].row, compared.rows[0].difference) == (1, ("",), -1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "page.csv is empty"),
        ("plan,people\nPro\n", "line 2 of page.csv has 1 cells, its head 2"),
        (
            "variant,people\nPro,1\n",
            "the file has no column 'plan' to match rows by, but 'variant', 'people': columns=",
        ),
        ("plan,colour\nPro,red\n", "no column of numbers is in both"),
        ("plan,people\nPro,1\nPro,2\n", "line 3: the row Pro is in line 2 already"),
        ("plan,people,People\nPro,1,1\n", "the file has two columns for 'people', 'people' and 'People'"),
    ],
)
def test_files_that_can_not_be_compared(text, told, file):
    found = reports.event_counts([Event("a", 1, "x", {"plan": "Pro"})], "x", by="plan")
    with pytest.raises(ValueError, match=told):
        reports.compare(found, file(text))


def test_columns_and_bytes_that_are_not_there(file):
    found = reports.event_counts([Event("a", 1, "x", {"plan": "Pro"})], "x", by="plan")
    path = file("plan,people\nPro,1\n")
    with pytest.raises(LookupError, match="no column 'peple': the closest is 'people'"):
        reports.compare(found, path, columns={"people": "peple"})
    with pytest.raises(ValueError, match="the file has no column 'People', but 'plan', 'people'"):
        reports.compare(found, path, columns={"People": "people"})
    with pytest.raises(ValueError, match=r"page.csv is not UTF-8 \(byte 14\): save it as UTF-8"):
        reports.compare(found, file("plan,people\nPr\xf6,1\n", "latin-1"))


NUMBERS = st.one_of(st.none(), st.integers(-(10**7), 10**7), st.floats(-(10**6), 10**6).map(lambda one: round(one, 4)))


@settings(max_examples=examples(25))
@given(st.dictionaries(st.text("abcé,\"'; ", min_size=1).map(str.strip).filter(bool), NUMBERS, min_size=1), st.data())
def test_just_the_cells_that_were_changed_differ(tmp_path_factory, numbers, data):
    records = [PropertySet(person, 1, {"n": 1 if number is None else number}) for person, number in numbers.items()]
    found = reports.property_total(Facts(records), "n", by="Customer ID")
    changed, gone = {}, set()
    file = io.StringIO()
    writer = csv.writer(file, delimiter=data.draw(st.sampled_from(",;\t")))
    writer.writerow(["Customer-ID", "Total", "values"])
    for row in data.draw(st.permutations(found.rows)):
        fate = data.draw(st.sampled_from(["kept", "changed", "gone"]))
        total, digits = row.total, data.draw(st.integers(0, 4))
        if fate == "gone":
            gone.add((row.value,))
            continue
        if fate == "changed":
            total += data.draw(st.sampled_from([-1, 1])) * 2 * 10.0**-digits
            changed[row.value,] = row.total - round(total, digits)
        text = f"{total:,.{digits}f}" if data.draw(st.booleans()) else f"{total:.{digits}f}"
        writer.writerow([row.value, text, row.values])
    path = tmp_path_factory.mktemp("csv") / "page.csv"
    path.write_text(file.getvalue(), encoding="utf-8-sig", newline="")
    compared = reports.compare(found, path)
    assert {row.row: row.column for row in compared.rows} == dict.fromkeys(changed, "total")
    for row in compared.rows:
        assert row.difference == pytest.approx(changed[row.row], abs=1e-6)
    assert (set(compared.only_here), compared.only_there) == (gone, ())
    assert compared.same == 2 * (len(found.rows) - len(gone)) - len(changed)


def test_what_we_wrote_is_the_same(tmp_path):
    half = "pl\ud800an"
    values = [" Pro ", "None", None, "2012-10", "", "a\nb", "a,b", "\r", "v\ud800", "x"]
    records = [
        Event(f"{' ' * (place % 2)}p{place}", 1349222400, "x", {half: 1} if value is None else {"plan": value})
        for place, value in enumerate(values)
    ]
    records.append(Event("p1", 1, "x"))  # and one more whose name differs by a space
    shows = ["plan", Show("first_time", "x"), Show("times", "x"), Show("last_value", half)]
    found = reports.people(records, columns=shows)
    found.to_csv(tmp_path / "people.csv")
    compared = reports.compare(found, tmp_path / "people.csv")
    assert (compared.same, compared.rows) == (4 * found.people, ())
    assert (compared.only_here, compared.only_there) == ((), ())


def test_spaces_around_texts(file):
    found = reports.event_counts([Event("a", 1, "x", {"plan": " Pro "})], "x", by="plan")
    assert reports.compare(found, file("plan,people\nPro,1\n")).same == 1
    assert reports.compare(found, file("plan,people\n Pro  ,1\n")).same == 1
    both = [Event("a", 1, "x", {"plan": " Pro"}), Event("b", 1, "x", {"plan": "Pro"})]
    assert reports.compare(reports.event_counts(both, "x", by="plan"), file("plan,people\n Pro,1\nPro,1\n")).same == 2


def test_a_file_that_is_no_csv(file):
    found = reports.event_counts([Event("a", 1, "x", {"plan": "Pro"})], "x", by="plan")
    with pytest.raises(ValueError, match=r"line \d+ of page.csv is not CSV: field larger .*a quote not closed"):
        reports.compare(found, file('plan,people\n"Pro,1\n' + "y" * 200_000))
    with pytest.raises(ValueError, match=r"line 5 of page.csv has 3 cells, its head 2"):
        reports.compare(found, file('plan,people\n"a\nb",1\n\nPro,1,2\n'))
