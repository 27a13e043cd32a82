"""Reports over a bucket, a lake or records: the same numbers as over Facts, of which only what is needed is read."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from kmexport import Bucket, Event, Facts, FactsLeftOutError, IdentityMap, UnknownNameError, Window, lake, reports
from kmexport.reports import Metric, Show, Split, did, has, in_order
from kmexport.reports.channels import CHANNEL_PROPERTIES
from kmexport.testing import write_export

WINDOW = Window.days("2012-09-10", "2012-10-05", "America/New_York")
REPORTS = {
    "counts": lambda s, **o: reports.event_counts(s, "signed up", WINDOW, by="plan", every="week", **o),
    "channels": lambda s, **o: reports.event_counts(s, "purchased", WINDOW, by="Channel", **o),
    "persons": lambda s, **o: reports.event_counts(s, "purchased", by="Customer ID", **o),
    "conversion": lambda s, **o: reports.conversion(s, "signed up", "purchased", WINDOW, by="plan", **o),
    "time_between": lambda s, **o: reports.time_between(s, "visited site", "signed up", WINDOW, **o),
    "total": lambda s, **o: reports.property_total(s, "billing amount", WINDOW, by="plan", **o),
    "everyone": lambda s, **o: reports.property_total(s, "billing amount", WINDOW, population="everyone", **o),
    "of an event": lambda s, **o: reports.property_total(s, "billing amount", event="purchased", **o),
    "funnel": lambda s, **o: reports.funnel(s, ["visited site", "signed up", "purchased"], WINDOW, by="plan", **o),
    "values": lambda s, **o: reports.property_values(s, "plan", by=Split("referrer", form="domain"), **o),
    "at a step": lambda s, **o: reports.property_values(s, "plan", WINDOW, at="at_step", step="purchased", **o),
    "cohorts": lambda s, **o: reports.cohorts(s, "signed up", "visited site", WINDOW, **o),
    "segments": lambda s, **o: reports.segments(s, "purchased", "plan", WINDOW, relative=True, **o),
    "before": lambda s, **o: reports.occurrences_before(s, "viewed product", "purchased", WINDOW, **o),
    "revenue": lambda s, **o: reports.revenue(s, "billing amount", WINDOW, churn_after="14 days", every="week", **o),
    "among": lambda s, **o: reports.event_counts(
        s, "signed up", among=did("purchased", where=has("billing amount")) & ~has("city", containing="o"), **o
    ),
    "not staff": lambda s, **o: reports.event_counts(s, "signed up", among=~has("customer id", containing="an"), **o),
    "ab_test": lambda s, **o: reports.ab_test(s, "plan", "purchased", WINDOW, **o),
    "paths": lambda s, **o: reports.paths(s, "visited site", "purchased", WINDOW, **o),
    "paths of channels": lambda s, **o: reports.paths(s, "visited site", "purchased", of="Channel", take="last", **o),
    "in order": lambda s, **o: reports.event_counts(
        s, "purchased", among=in_order("visited site", has("plan"), did("purchased")), **o
    ),
    "people": lambda s, **o: reports.people(
        s, did("purchased"), columns=[Show("times", "visited site"), Show("last_value", "plan")], **o
    ),
}
EVERYONE = [Metric("everyone")]
every_report = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)


@pytest.fixture(scope="module")
def records():
    return list(Bucket.sample().iter_records())


@pytest.fixture(scope="module")
def ready(records):
    with Facts(records) as facts, Facts(records, rule="strict") as strict:
        yield {"classic": facts, "strict": strict}


@every_report
@pytest.mark.parametrize("rule", ["classic", "strict"])
@pytest.mark.slow
def test_a_report_over_records_is_that_over_facts(report, rule, records, ready):
    found = report(records, rule=rule)
    assert found == report(ready[rule])
    assert found.people_of() == report(ready[rule]).people_of() if not isinstance(found, reports.Funnel) else True


@every_report
def test_a_report_over_a_bucket_is_that_over_facts(report, ready):
    assert report(Bucket.sample()) == report(ready["classic"])


LIMITED = {
    "counts": lambda s, **o: reports.event_counts(s, "viewed product", DAY, by=IN_DAY, **o),
    "funnel": lambda s, **o: reports.funnel(s, ["visited site", "signed up"], DAY, by="customer id", **o),
    "total": lambda s, **o: reports.property_total(s, "billing amount", DAY, event="purchased", **o),
    "repeating": lambda s, **o: reports.conversion(s, "visited site", "signed up", DAY, repeating=True, **o),
    "time": lambda s, **o: reports.time_between(s, "visited site", "signed up", DAY, first_ever=False, **o),
}
DAY = Window.day("2012-10-03", "America/New_York")
IN_DAY = Split("product", at="last_in_window")


@pytest.mark.parametrize("report", LIMITED.values(), ids=LIMITED)
def test_with_a_margin_only_the_files_of_the_window_are_read(report, caplog):
    with caplog.at_level(logging.INFO, "kmexport"), Facts(Bucket.sample(), window=DAY, margin=0) as facts:
        assert report(Bucket.sample(), margin=0) == report(facts)
    read = len(Bucket.sample().revisions(DAY, margin=0))
    assert f"a report reads {read} revisions" in caplog.text
    assert report(Bucket.sample(), margin=None) == report(Bucket.sample())


def test_a_margin_where_other_records_count_too():
    bucket = Bucket.sample()
    for report in (
        lambda: reports.event_counts(bucket, "signed up", DAY, by="plan", margin=0),
        lambda: reports.event_counts(bucket, "signed up", DAY, among=did("purchased"), margin=0),
        lambda: reports.conversion(bucket, "visited site", "signed up", DAY, margin=0),
        lambda: reports.cohorts(bucket, "visited site", "signed up", DAY, margin=0),
    ):
        with pytest.raises(ValueError, match="looks at records outside its window too"):
            report()
    with pytest.raises(ValueError, match="give a window"):
        reports.event_counts(bucket, "signed up", margin=0)


def test_a_name_that_was_left_out_is_not_called_unknown(records):
    with Facts(records, names=["signed up"], properties=["plan"]) as facts:
        for ask in (
            lambda: reports.event_counts(facts, "purchased"),
            lambda: reports.event_counts(facts, "signed up", by="referrer"),
            lambda: reports.event_counts(facts, "signed up", among=did("purchased")),
        ):
            with pytest.raises(FactsLeftOutError, match="was not read"):
                ask()
        with pytest.raises(UnknownNameError):
            reports.event_counts(records, "no such event")


def test_a_misspelled_name_has_the_closest_of_the_whole_source(records, tmp_path):
    url = str(tmp_path / "lake")
    lake.sync(Bucket.sample(), url)
    for source in (Bucket.sample(), records, url):
        with pytest.raises(UnknownNameError, match="The closest name is 'signed up'"):
            reports.event_counts(source, "singed up")
        with pytest.raises(UnknownNameError, match="The closest name is 'plan'"):
            reports.people(source, columns=["plann"])
    with pytest.raises(UnknownNameError, match=r"no record has the event 'singed up'\. Facts"):
        reports.event_counts(iter(records), "singed up")


@every_report
def test_every_result_is_json(report, ready):
    found = report(ready["classic"])
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


@pytest.fixture(scope="module")
def workers():
    with ThreadPoolExecutor(2) as executor:
        yield executor


@every_report
@pytest.mark.slow
def test_a_report_by_workers_is_that_over_facts(report, ready, workers):
    assert report(Bucket.sample(), executor=workers, ahead=2) == report(ready["classic"])


@pytest.mark.slow
def test_a_report_by_processes_is_that_over_facts(ready):
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        assert REPORTS["funnel"](Bucket.sample(), executor=executor, rule="strict") == REPORTS["funnel"](
            ready["strict"]
        )
        plain = reports.explain(Bucket.sample(), "signed up", "2012-10-03", late=True)
        assert reports.explain(Bucket.sample(), "signed up", "2012-10-03", late=True, executor=executor) == plain


def test_an_executor_reads_a_bucket_only(records, ready, workers):
    with pytest.raises(TypeError, match="executor= is said where Facts are made"):
        REPORTS["counts"](ready["classic"], executor=workers)
    with pytest.raises(TypeError, match="executor"):
        REPORTS["counts"](records, executor=workers)


@pytest.mark.parametrize(
    "options",
    [
        {"rule": "strict"},
        {"prefer": "numeric_first"},
        {"on_error": "skip"},
        {"identities": Bucket.sample().identities(prefer="numeric_first")},
        {"callback": None},
    ],
    ids=lambda options: next(iter(options)),
)
def test_how_a_source_is_read_is_passed_on(options):
    with Facts(Bucket.sample(), **options) as facts:
        for name in ("channels", "funnel", "people"):
            assert REPORTS[name](Bucket.sample(), **options) == REPORTS[name](facts)


def test_a_report_over_a_lake(tmp_path, ready):
    url = str(tmp_path / "lake")
    lake.sync(Bucket.sample(), url)
    report = REPORTS["funnel"]
    assert report(url) == report(ready["classic"])


def test_a_page_about_a_person_of_a_bucket(ready):
    page = reports.person(Bucket.sample(), "ana127@example.com")
    assert page == reports.person(ready["classic"], "ana127@example.com")
    assert json.loads(json.dumps(page.to_dict())) == page.to_dict()
    assert page.plot().get_title() == "ana127@example.com"


def test_a_result_keeps_what_it_read_until_it_is_closed(records, ready):
    with reports.event_counts(records, "signed up") as found:
        assert found.people_of() == reports.event_counts(ready["classic"], "signed up").people_of()
    with pytest.raises(ValueError, match="these facts are closed"):
        found.people_of()
    with reports.event_counts(ready["classic"], "signed up") as given:
        pass
    assert given.people_of()  # Facts that were given stay open


def test_how_a_source_is_read(tmp_path, caplog):
    bad = []
    bucket = write_export(tmp_path, {1: [Event("x1", 1, "x"), b'{"_n":"x","_p":', Event("bob", 2, "x")]})
    people = IdentityMap()
    people.link("x1", "bob")
    with caplog.at_level(logging.INFO, "kmexport"):
        assert reports.event_counts(bucket, "x", on_error=bad.append, identities=people).people_of() == ["bob"]
    assert len(bad) == 1
    assert "a report reads 1 revisions" in caplog.text
    with Facts(bucket, on_error="skip") as facts, pytest.raises(TypeError, match="rule= is said where Facts are made"):
        reports.event_counts(facts, "x", rule="strict")
    with pytest.raises(TypeError, match="there is no argument 'onerror'"):
        reports.event_counts(bucket, "x", onerror="skip")


@pytest.mark.parametrize(
    ("limits", "ask"),
    [
        ({"properties": ["amount"]}, lambda facts: reports.event_counts(facts, "visited site", by="Channel")),
        ({"properties": ["amount"]}, lambda facts: reports.people(facts, has("Channel", equal_to="Direct"))),
        ({"properties": ["amount"]}, lambda facts: reports.people(facts, columns=["Origin"])),
        ({"properties": ["amount"]}, lambda facts: reports.pivot(facts, ["Channel: Origin"], EVERYONE)),
        ({"names": ["bought"]}, lambda facts: reports.event_counts(facts, "bought", by="Channel")),
        ({"names": ["bought"]}, lambda facts: reports.property_total(facts, "amount", by="Origin")),
        ({"properties": CHANNEL_PROPERTIES}, lambda facts: reports.event_counts(facts, "visited site", by="Channel")),
    ],
)
def test_what_a_channel_is_made_of_was_left_out(limits, ask):
    visit = Event("a", 1, "visited site", {"referrer": "http://google.com/x", "plan": "p"})
    records = [visit, Event("a", 2, "bought", {"amount": 5})]
    with Facts(records, **limits) as facts, pytest.raises(FactsLeftOutError, match="was not read"):
        ask(facts)


def test_a_channel_needs_no_more_than_it_is_made_of():
    records = [Event("a", 1, "visited site", {"referrer": "http://google.com/x"}), Event("b", 2, "bought")]
    with Facts(records, names=["visited site"], properties=["Channel", *CHANNEL_PROPERTIES]) as facts:
        found = reports.event_counts(facts, "visited site", by="Channel")
    assert [row.value for row in found.rows] == ["Organic"]
    sent = [Event("a", 1, "visited site", {"channel": "Radio"})]
    with Facts(sent, properties=["channel"]) as facts:
        assert [row.value for row in reports.event_counts(facts, "visited site", by="Channel").rows] == ["Radio"]


def test_a_misspelled_name_tells_of_no_line_twice(tmp_path):
    bucket = write_export(tmp_path, {1: [Event("x1", 1, "signed up", {"plan": 1}), b'{"_n":"x","_p":']})
    bad: list[object] = []
    with pytest.raises(UnknownNameError, match="The closest name is 'plan'"):
        reports.event_counts(bucket, "signed up", by="plam", on_error=bad.append)
    assert len(bad) == 1
    with pytest.raises(UnknownNameError, match="The closest name is 'signed up'"):
        reports.event_counts(bucket, "singed up", Window(0, 9), margin=0, on_error="skip")
