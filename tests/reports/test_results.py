"""What reports give back: tables as text, HTML and Arrow, and pictures."""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys

import matplotlib as mpl
import polars as pl
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from kmexport import Bucket, Event, Facts, Window, reports
from kmexport.reports import plots

mpl.use("Agg")

ODD = "<b>$a_1$ & “quoted”</b>\n😀 " + "a very long name " * 9
WINDOW = Window.days("2012-10-01", "2012-10-05", "America/New_York")


@pytest.fixture(scope="module")
def sample():
    with Facts(Bucket.sample()) as facts:
        yield facts


@pytest.fixture(scope="module")
def odd():
    with Facts([Event("a", 1, ODD, {ODD: ODD}), Event("a", 1, ODD + "2", {ODD: ""}), Event("b", 90, ODD)]) as facts:
        yield facts


def all_reports(facts, first, second, name, **window):
    """Each report, plain and split."""
    split = {"by": name, "every": "day", "tz": "America/New_York", **window}
    yield reports.event_counts(facts, first, **window)
    yield reports.event_counts(facts, first, by=name, **window)
    yield reports.event_counts(facts, first, **split)
    yield reports.conversion(facts, first, second, **window)
    yield reports.conversion(facts, first, second, by=name, **window)
    yield reports.conversion(facts, first, second, **split)
    yield reports.time_between(facts, first, second, **window)
    yield reports.time_between(facts, first, second, **split)
    yield reports.funnel(facts, [first, second], **window)
    yield reports.funnel(facts, [first, second], by=name, **window)
    yield reports.funnel(facts, [first], **window)
    yield reports.funnel(facts, [first, second], **split)
    yield reports.property_values(facts, name, **window)
    yield reports.property_values(facts, name, at="at_step", step=first, by=name, **window)
    yield reports.property_values(facts, name, at="last_in_window", **split)
    yield reports.segments(facts, first, name, **window)
    yield reports.segments(facts, first, name, **split)
    yield reports.occurrences_before(facts, first, second, **window)
    yield reports.occurrences_before(facts, first, second, **split)
    columns = [reports.Metric("people", first), reports.Metric("rate", first, second)]
    yield reports.pivot(facts, [name, reports.GroupBy("first_time", second)], columns, **window)
    yield reports.pivot(facts, [name], columns, every="day", **window)
    yield reports.ab_test(facts, name, second, **window)
    yield reports.paths(facts, first, second, **window)
    yield reports.paths(facts, first, second, of=name, take="last", **window)
    yield reports.event_counts(facts, first, **window).distribution()
    yield reports.time_between(facts, first, second, **window).distribution()
    yield reports.cohorts(facts, first, second, group="day", **window)
    yield reports.cohorts(facts, first, second, by=name, cumulative=True, **window)


@pytest.fixture(scope="module", params=["sample", "odd", "nobody"])
def results(request, sample, odd):
    if request.param == "sample":
        totals = [
            reports.property_total(sample, "billing amount", WINDOW),
            reports.property_total(sample, "billing amount", WINDOW, by="plan"),
            reports.property_total(sample, "billing amount", WINDOW, by="plan", every="week"),
            reports.property_total(sample, "billing amount", WINDOW).distribution(),
            reports.revenue(sample, "billing amount", WINDOW),
            reports.revenue(sample, "billing amount", WINDOW, by="plan"),
            reports.revenue(sample, "billing amount", WINDOW, by="plan", every="day"),
        ]
        return [*all_reports(sample, "signed up", "purchased", "plan", window=WINDOW), *totals]
    if request.param == "odd":
        return list(all_reports(odd, ODD, ODD + "2", ODD))
    return list(all_reports(sample, "signed up", "purchased", "plan", window=Window(0, 86_400)))


def test_results_print_as_tables(results):
    for result in results:
        title, head, *rows = str(result).splitlines()
        assert title
        assert head.startswith("  ")
        assert all(row.isprintable() for row in [title, head, *rows])
        assert repr(result) == str(result)


def test_html_is_escaped(results):
    for result in results:
        text = result._repr_html_()
        assert "<b>" not in text
        assert text.count("<tr>") == text.count("</tr>") >= 1


def test_dicts_are_json(results):
    for result in results:
        numbers = result.to_dict()
        assert json.loads(json.dumps(numbers)) == numbers
        assert not any(name.startswith("_") for name in numbers)


def test_arrow_tables_have_types_and_all_rows(results):
    for result in results:
        table = result.to_arrow()
        assert {str(field.type) for field in table.schema} <= {"string", "int64", "double"}
        assert pl.from_arrow(table).height == table.num_rows
        assert len(table.to_pandas()) == table.num_rows


def test_columns_of_an_arrow_table_have_different_names():
    facts = Facts([Event("a", 1, "X", {"people": "many", "day": "Monday", "people (by)": 1})])
    assert reports.event_counts(facts, "X", by="people").to_arrow().column_names[:2] == ["people (by)", "people"]
    assert reports.event_counts(facts, "X", by="day", every="day").to_arrow().column_names[:2] == ["day (by)", "day"]
    values = reports.property_values(facts, "people", by="people").to_arrow()
    assert values.column_names == ["people (by) (by)", "people (by)", "people"]
    assert reports.cohorts(facts, "X", "X", by="people").to_arrow().column_names == ["people (by)", "people"]
    assert pl.from_arrow(values).row(0) == ("many", "many", 1)
    nul = Facts([Event("a", 1, "n\0ul", {"n\0ul": "v"})])
    names = ["n\0ul", reports.GroupBy("times", "n\0ul")]
    assert reports.pivot(nul, names, [reports.Metric("people", "n\0ul")]).pl().shape == (1, 3)


NAMES_OF_FORMULAS = ["cost $\\frac$ x", "$x", "half \ud800 $", "\\N{x}$\\frac{"]


@pytest.mark.parametrize("name", NAMES_OF_FORMULAS)
def test_no_name_is_read_as_a_formula(name):
    event = name.replace("\ud800", "")
    facts = Facts([Event("a", 1, event, {name: name, "n": 1}), Event("a", 2, "b"), Event("b", 90_000, event)])
    people = reports.Metric("people", event)
    drawn = [
        reports.pivot(facts, [name], [people]),
        reports.pivot(facts, [name], [people], every="day"),
        reports.pivot(facts, [name], {name: people}),
        reports.event_counts(facts, event, by=name, every="day"),
        reports.event_counts(facts, event).distribution(),
        reports.property_values(facts, name),
        reports.ab_test(facts, name, "b"),
        reports.cohorts(facts, event, "b", by=name),
        reports.funnel(facts, [event, "b"], by=name),
        reports.paths(facts, event, "b", of=name),
        reports.paths(facts, event, "b"),
        reports.person(facts, "a"),
    ]
    for result in drawn:
        result.plot().figure.savefig(io.BytesIO(), format="svg")
        plt.close("all")
    labels = [label.get_text() for label in drawn[6].plot().get_yticklabels()]
    assert [label.count("\\$") for label in labels if "$" in label] == [name.count("$")]
    assert not any("\\\\$" in label for label in labels)
    plt.close("all")


@pytest.mark.slow
def test_pictures_are_drawn_into_the_axes(results):
    for result in results:
        _, given = plt.subplots()
        assert result.plot(given) is given
        given.figure.canvas.draw()
        drawn = result.plot()
        assert isinstance(drawn, Axes)
        drawn.figure.canvas.draw()
        labels = [label.get_text() for label in (*drawn.get_xticklabels(), *drawn.get_yticklabels())]
        assert all(len(label) < 60 for label in labels)
        plt.close("all")


def bars_of(axes):
    return [bar.get_height() for bar in axes.patches]


def test_a_funnel_is_bars_with_shares(sample):
    found = reports.funnel(sample, ["visited site", "signed up", "purchased"])
    axes = found.plot()
    assert bars_of(axes) == [step.people for step in found.steps]
    assert f"{found.steps[1].people}\n{found.steps[1].share:.0%}" in [text.get_text() for text in axes.texts]
    plt.close("all")


def test_a_trend_is_a_line_for_each_value(sample):
    found = reports.event_counts(sample, "signed up", WINDOW, every="day", tz="America/New_York", by="plan")
    axes = found.plot()
    assert {line.get_label(): list(line.get_ydata()) for line in axes.lines} == {
        value: [row.people for row in found.rows if row.value == value] for value in ("Pro", "Team", "Free")
    }
    plt.close("all")


@pytest.mark.parametrize("heights", [(1, 21, 3), (5, 5, 5), (0, None, 1), (-3, 4, 2), (-3, -8, None), (1e9, 0, 5e8)])
def test_no_marker_of_a_trend_is_cut_at_an_edge(heights):
    axes = plots.lines(["a", "b", "c"], {"one": heights}, "a trend", "people", None)
    axes.figure.canvas.draw()
    drawn = axes.get_window_extent()
    radius = axes.lines[0].get_markersize() / 2 * axes.figure.dpi / 72
    for height in heights:
        if height is not None:
            middle = axes.transData.transform((0, height))[1]
            assert middle + radius < drawn.y1
            assert middle - radius > drawn.y0 or height == 0
    assert axes.get_ylim()[0] <= 0 <= axes.get_ylim()[1]
    plt.close("all")


def test_people_are_counted_in_whole_numbers():
    whole = plots.lines(["a", "b"], {"one": [3, 4]}, "a trend", "people", None)
    whole.figure.canvas.draw()
    assert all(at == int(at) for at in whole.get_yticks())
    shares = plots.lines(["a", "b"], {"one": [0.3, 0.4]}, "a trend", "rate", None, form="share")
    shares.figure.canvas.draw()
    assert any(at != int(at) for at in shares.get_yticks())
    plt.close("all")


def test_the_legend_of_a_distribution_stands_above_its_bars():
    seconds = [*range(1, 100), *range(40, 100), 10**6]
    axes = plots.distribution(seconds, 50.0, "how long", None)
    axes.figure.canvas.draw()
    legend = axes.get_legend().get_window_extent()
    assert all(legend.y0 > bar.get_window_extent().y1 for bar in axes.patches)
    plt.close("all")


def test_the_axes_of_a_trend_keep_room_for_what_they_hold_already():
    _, axes = plt.subplots()
    axes.plot([0, 1], [50, 100])
    plots.lines(["a", "b"], {"one": [1, 2]}, "a trend", "people", axes)
    assert axes.get_ylim()[1] > 100
    plt.close("all")


def light(colour):
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_items_of_a_path_stand_out_from_their_boxes():
    boxes = [(name, name) for name in "abcdefg"]
    axes = plots.paths([(boxes, "1 of 2")], "paths", None)
    assert len({bar.get_facecolor() for bar in axes.patches}) == 6  # five of their own, and grey
    for bar, text in zip(axes.patches, axes.texts, strict=False):
        assert (light(bar.get_facecolor()) + 0.05) / (light(to_rgb(text.get_color())) + 0.05) >= 4.5
    plt.close("all")


def test_the_shares_of_a_heat_map_stand_out_from_their_cells():
    axes = plots.heat_map([f"{row}" for row in range(10)], [[row / 10 + column / 100 for column in range(10)]
                          for row in range(10)], "shares", "days", None)  # fmt: skip
    image = axes.images[0]
    for text in axes.texts:
        column, row = text.get_position()
        ground, ink = light(image.to_rgba(image.get_array()[row, column])), light(to_rgb(text.get_color()))
        assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) >= 4.5
    assert len(axes.texts) == 100
    plt.close("all")


def test_a_cohort_is_a_heat_map_blank_where_nothing_can_be_yet(sample):
    found = reports.cohorts(sample, "signed up", "visited site", WINDOW, group="day", tz="America/New_York")
    texts = {text.get_position(): text.get_text() for text in found.plot().texts}
    assert len(texts) == sum(min(row.begun, len(row.buckets)) for row in found.rows)
    assert texts[0, 0] == f"{found.rows[0].shares[0]:.0%}"
    plt.close("all")


def test_nobody_is_said_in_words(sample):
    for result in all_reports(sample, "signed up", "purchased", "plan", window=Window(0, 86_400)):
        if not isinstance(result, reports.PropertyValues):  # everyone has a value, or none
            assert [text.get_text() for text in result.plot().texts] == ["no people"]
            plt.close("all")


def test_a_distribution_counts_what_it_leaves_out():
    records = [Event(f"p{person}", 0, "E1") for person in range(20)]
    records += [Event(f"p{person}", 60 + person if person else 10**6, "E2") for person in range(20)]
    axes = reports.time_between(Facts(records), "E1", "E2").plot()
    assert sum(bars_of(axes)) == 19
    assert "1 took longer than shown" in axes.get_legend().get_texts()[0].get_text()
    plt.close("all")


def test_long_tables_are_cut_and_say_so():
    facts = Facts([Event("a", day * 86_400, "X") for day in (0, 300)])
    days = reports.event_counts(facts, "X", every="day")
    assert str(days).endswith("… and 101 rows more: .to_arrow() has all")
    assert "101 rows more" in days._repr_html_()
    assert days.to_arrow().num_rows == 301


def test_results_are_equal_when_their_numbers_are(sample):
    once, again = (reports.event_counts(sample, "signed up", by="plan") for _ in range(2))
    assert once == again
    assert once != reports.event_counts(sample, "purchased", by="plan")


def test_parts_that_are_not_there(sample):
    counts = reports.event_counts(sample, "signed up", WINDOW, by="plan", every="day")
    with pytest.raises(LookupError, match="the report has no value 'Prro': the closest is 'Pro'"):
        counts.people_of(value="Prro")
    with pytest.raises(LookupError, match="no period '2012-10-0'"):
        counts.people_of(label="2012-10-0")
    found = reports.cohorts(sample, "signed up", "visited site", WINDOW, group="day")
    with pytest.raises(LookupError, match="the buckets 0 to"):
        found.people_of(bucket=99)
    with pytest.raises(LookupError, match="no cohort"):
        found.people_of("2011-10-01")
    with pytest.raises(LookupError, match="no step 'purchsed'"):
        reports.funnel(sample, ["signed up", "purchased"]).people_of("purchsed")


@pytest.mark.parametrize(
    ("missing", "code", "extra"),
    [
        ("duckdb", "import kmexport.reports", "tables"),
        ("pyarrow", "from kmexport import reports", "tables"),
        (
            "matplotlib",
            "from kmexport import Event, Facts, reports; reports.event_counts(Facts([Event('a', 1, 'X')]), 'x').plot()",
            "plot",
        ),
    ],
)
def test_without_the_extra_an_error_says_what_to_install(missing, code, extra):
    program = f"import sys, kmexport\nsys.modules[{missing!r}] = None\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"pip install 'kmexport[{extra}]'" in done.stderr.splitlines()[-1]


def test_reports_do_not_load_matplotlib():
    program = "import sys, kmexport.reports; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_result_is_pickled_without_its_facts_and_copied_with_them():
    with Facts(Bucket.sample()) as facts:
        results = [
            reports.event_counts(facts, "signed up", by="plan"),
            reports.funnel(facts, ["visited site", "signed up"]),
            reports.cohorts(facts, "visited site", "visited site"),
            reports.people(facts, reports.did("purchased"), columns=["plan"]),
            reports.paths(facts, "visited site", "signed up"),
            reports.pivot(facts, [reports.Split("channel")], [reports.Metric("people", "signed up")]),
        ]
        for result in results:
            sent = pickle.loads(pickle.dumps(result))
            assert (sent, str(sent), sent._repr_html_()) == (result, str(result), result._repr_html_())
        counts = pickle.loads(pickle.dumps(results[0]))
        with pytest.raises(ValueError, match="was pickled, and its facts were not: ask who is in it where the report"):
            counts.people_of()
        counts.close()
        assert copy.deepcopy(results[0]).people_of() == copy.copy(results[0]).people_of() == results[0].people_of()


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_facts_are_neither_copied_nor_sent(way):
    with Facts(Bucket.sample()) as facts, pytest.raises(TypeError, match=r"cursor\(\) is for another thread"):
        way(facts)


def test_conditions_and_splits_are_values():
    mine = reports.ChannelRules(media={"cpc": "Paid"})
    values = [mine, reports.Split("channel", channels=mine), reports.has("plan"), reports.did("visited site"),
              reports.in_order("visited site", "signed up"), reports.GroupBy("times", "visited site")]  # fmt: skip
    assert [pickle.loads(pickle.dumps(value)) for value in values] == values
    assert copy.deepcopy(values) == values
    assert len({mine, values[1], copy.deepcopy(mine), copy.deepcopy(values[1])}) == 2
