"""Pictures of results: plain numbers in, Axes out. Needs matplotlib (extra `plot`).

Colours are those of Okabe and Ito, which the colour-blind can tell; lines differ in their markers too. Names come
from data: they are cut to a length, and never read as formulas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import shorten, wrap
from typing import Final

try:
    from matplotlib import pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import to_rgb
    from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
except ImportError as _error:
    _msg = f"pictures need {_error.name}: pip install 'kmexport[plot]'"
    raise ImportError(_msg, name=_error.name) from _error

from kmexport.reports.results import NumberForm, texts_of, value_shown
from kmexport.windows import time_at

COLOURS: Final = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#555555"]
MARKERS: Final = ["o", "s", "^", "D", "v", "X"]
NAME_LENGTH: Final = 32
UNIT_LENGTH: Final = 60
BARS_SHOWN: Final = 20
GROUPS_SHOWN: Final = 4
COHORTS_SHOWN: Final = 40
WHITE_ABOVE: Final = 0.71  # of the darkest blue: up to there black stands out more, 4.5 to 1 at the least
LONGEST_SHOWN: Final = 6  # medians: of times that fade exponentially, 98% are shorter
PATHS_SHOWN: Final = 12
WORD_LENGTH: Final = 10  # letters of a line in a box
MOST_DRAWN: Final = 1e300
UNITS: Final = [("days", 2 * 86_400, 86_400), ("hours", 2 * 3_600, 3_600), ("minutes", 120, 60), ("seconds", 0, 1)]


def bars(
    names: Sequence[str | None],
    numbers: Sequence[float | None],
    title: str,
    unit: str,
    ax: Axes | None,
    *,
    form: NumberForm = "number",
) -> Axes:
    """Draw a horizontal bar for each name, the first at the top; none for a number that is None."""
    shown = min(len(names), BARS_SHOWN)
    labels = [name_shown(name, NAME_LENGTH) for name in names[:shown]]
    axes = _axes(ax, title, width=_width(labels), height=1.2 + 0.35 * max(shown, 2))
    if all(number is None for number in numbers):
        return _nothing(axes)
    widths = [_drawn(number or 0) for number in numbers[:shown]]
    drawn = axes.barh(range(shown), widths, color=COLOURS[0])
    axes.bar_label(drawn, texts_of(numbers[:shown], form), padding=3)
    if not any(widths):
        axes.set_xlim(0, 1)
    axes.set_yticks(range(shown), labels)
    axes.set_ylim(shown - 0.5, -0.5)
    axes.margins(x=0.15)
    more = "" if shown == len(names) else f" (the first {shown} of {len(names):,} values)"
    axes.set_xlabel(name_shown(unit, UNIT_LENGTH) + more)
    _scale(axes.xaxis, form)
    return axes


def lines(
    labels: Sequence[str | None],
    series: Mapping[str | None, Sequence[float | None]],
    title: str,
    unit: str,
    ax: Axes | None,
    *,
    form: NumberForm = "number",
) -> Axes:
    """Draw a line for each series, over the same periods; gaps where there is no number."""
    axes = _axes(ax, title, width=6.4 if len(series) == 1 else 7.6)
    if all(number is None for numbers in series.values() for number in numbers):
        return _nothing(axes)
    for (name, numbers), colour, marker in zip(series.items(), COLOURS, MARKERS, strict=False):
        heights = [float("nan") if number is None else _drawn(number) for number in numbers]
        has_gaps = any(number is None for number in numbers)  # a point between two gaps needs a marker
        marker_size = 5 if len(labels) <= 31 else 3 if has_gaps else 0
        axes.plot(
            range(len(labels)), heights, color=colour, marker=marker, markersize=marker_size, label=name_shown(name, 20)
        )
    shown = [_drawn(number) for numbers in series.values() for number in numbers if number is not None]
    axes.set_ylim(*_limits(shown, axes))
    axes.xaxis.set_major_locator(MaxNLocator(min(10, len(labels)), integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _label_at(labels, at)))
    axes.tick_params(axis="x", rotation=30)
    plt.setp(axes.get_xticklabels(), ha="right")
    axes.set_ylabel(name_shown(unit, NAME_LENGTH))
    _scale(axes.yaxis, form, is_whole=all(number == int(number) for number in shown))
    if len(series) > 1:
        more = len(series) - len(COLOURS)
        heading = f"the largest {len(COLOURS)};\n{more:,} more" if more > 0 else None
        axes.legend(title=heading, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return axes


def distribution(seconds: Sequence[int], median: float | None, title: str, ax: Axes | None) -> Axes:
    """Draw how many people took how long. Where few took far longer than the rest, a note counts them."""
    axes = _axes(ax, title)
    if not seconds or median is None:
        return _nothing(axes)
    limit = min(max(seconds), LONGEST_SHOWN * median)
    unit, _, length = next(entry for entry in UNITS if limit >= entry[1])
    shown = [second / length for second in seconds if second <= limit]
    axes.hist(shown, bins=min(30, max(5, len(set(shown)))), range=(0, max(limit / length, 1)), color=COLOURS[0])
    left = len(seconds) - len(shown)
    told = f"median {median / length:,.3g} {unit}" + (f"\n{left:,} took longer than shown" if left else "")
    axes.axvline(median / length, color=COLOURS[1], linestyle="--", label=told)
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])  # the legend stands above the bars
    axes.legend(frameon=False, loc="best")  # upper right, unless the median stands there
    axes.set_xlabel(unit)
    axes.set_ylabel("people")
    _scale(axes.yaxis, "number")
    return axes


def funnel(
    steps: Sequence[str],
    people: Sequence[int],
    groups: Mapping[str | None, Sequence[int]],
    title: str,
    ax: Axes | None,
) -> Axes:
    """Draw a bar for each step with its people and share; with groups, the largest beside one another."""
    axes = _axes(ax, title, width=max(6.4, 1.1 * len(steps)))
    if not any(people):
        return _nothing(axes)
    drawn = dict(list(groups.items())[:GROUPS_SHOWN]) or {"": people}
    width = 0.8 / len(drawn)
    for number, ((name, counts), colour) in enumerate(zip(drawn.items(), COLOURS, strict=False)):
        places = [place + (number - (len(drawn) - 1) / 2) * width for place in range(len(steps))]
        rectangles = axes.bar(places, counts, width * 0.95, color=colour, label=name_shown(name, 30))
        shares = [f"{count / counts[0]:.0%}" if counts[0] else "-" for count in counts]
        texts = shares if groups else [f"{count:,}\n{share}" for count, share in zip(counts, shares, strict=True)]
        axes.bar_label(rectangles, texts, padding=2, fontsize=8 if groups else 10)
    axes.set_xticks(range(len(steps)), ["\n".join(wrap(name_shown(step, 45), 15)) for step in steps])
    axes.set_xlim(-0.6, max(len(steps), 3) - 0.4)
    axes.set_ylabel("people")
    axes.margins(y=0.18)
    _scale(axes.yaxis, "number")
    if groups:
        more = len(groups) - len(drawn)
        axes.legend(title=f"the largest {len(drawn)}; {more:,} more" if more > 0 else None, frameon=False)
    return axes


def waterfall(names: Sequence[str], numbers: Sequence[float], title: str, unit: str, ax: Axes | None) -> Axes:
    """Draw a bar for the first number, then what each step adds or takes away, then a bar for the last number."""
    shown = [*names, "in the end"]
    axes = _axes(ax, title, width=_width(shown), height=1.2 + 0.35 * len(shown))
    if not any(numbers):
        return _nothing(axes)
    before = [0, *numbers]
    for place, (start, end) in enumerate(zip(before, numbers, strict=False)):
        colour = COLOURS[0] if place == 0 else COLOURS[2] if end >= start else COLOURS[1]
        axes.barh(place, abs(end - start), left=min(start, end), color=colour)
        text = f"{end:,}" if place == 0 else f"{end - start:+,}" if end != start else "0"
        axes.annotate(text, (max(start, end), place), (3, 0), textcoords="offset points", va="center")
    axes.barh(len(names), numbers[-1], color=COLOURS[0])
    axes.annotate(f"{numbers[-1]:,}", (numbers[-1], len(names)), (3, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(shown)), [name_shown(name, NAME_LENGTH) for name in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.margins(x=0.15)
    axes.set_xlabel(name_shown(unit, UNIT_LENGTH))
    _scale(axes.xaxis, "number")
    return axes


def moments(times: Mapping[str, Sequence[int]], title: str, ax: Axes | None) -> Axes:
    """Draw a row of dots for each name, the first at the top: one at each time (unix seconds), in UTC."""
    shown = dict(list(times.items())[:BARS_SHOWN])
    labels = [name_shown(name, NAME_LENGTH) for name in shown]
    axes = _axes(ax, title, width=_width(labels), height=1.2 + 0.35 * max(len(shown), 2))
    if not shown:
        return _nothing(axes, "no events")
    for place, dots in enumerate(shown.values()):
        axes.plot(
            [moment / 86_400 for moment in dots], [place] * len(dots), "o", color=COLOURS[0], alpha=0.6, clip_on=False
        )
    axes.set_yticks(range(len(shown)), labels)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.margins(x=0.05)
    every_moment = [moment for dots in shown.values() for moment in dots]
    days = dict.fromkeys(f"{time_at(moment):%Y-%m-%d}" for moment in (min(every_moment), max(every_moment)))
    more = "" if len(shown) == len(times) else f" (the first {len(shown)} of {len(times):,} events)"
    axes.set_xlabel(f"UTC, {' to '.join(days)}{more}")
    axes.xaxis_date("UTC")
    axes.tick_params(axis="x", rotation=30)
    plt.setp(axes.get_xticklabels(), ha="right")
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def heat_map(
    names: Sequence[str], cells: Sequence[Sequence[float | None]], title: str, unit: str, ax: Axes | None
) -> Axes:
    """Draw a line for each name, the first at the top; a darker cell is a larger share, a blank one has none."""
    columns = max(map(len, cells), default=0)
    shown = min(len(names), COHORTS_SHOWN)
    width = max(_width(names[:shown]), 2.5 + 0.5 * min(columns, 20))
    axes = _axes(ax, title, width=width, height=1.3 + 0.32 * max(shown, 2))
    if not columns:
        return _nothing(axes)
    rows = [[float("nan") if cell is None else cell for cell in row] for row in cells[:shown]]
    largest = max((cell for row in cells[:shown] for cell in row if cell is not None), default=0) or 1
    image = axes.imshow(rows, cmap="Blues", vmin=0, vmax=largest, aspect="auto")
    if columns <= 20:
        for at, row in enumerate(cells[:shown]):
            for bucket, cell in enumerate(row):
                if cell is not None:
                    colour = "white" if cell > WHITE_ABOVE * largest else "black"
                    axes.text(bucket, at, f"{cell:.0%}", ha="center", va="center", color=colour, fontsize=8)
    else:
        axes.figure.colorbar(image, ax=axes, format=PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(min(20, columns), integer=True))
    axes.set_yticks(range(shown), names[:shown])
    more = "" if shown == len(names) else f" (the first {shown} of {len(names):,})"
    axes.set_xlabel(name_shown(unit, UNIT_LENGTH) + more)
    axes.spines[:].set_visible(False)
    return axes


def paths(lines: Sequence[tuple[Sequence[tuple[str, str]], str]], title: str, ax: Axes | None) -> Axes:
    """Draw a line of boxes for each path, the first at the top, and a text after them.

    A box has the name that gives it its colour (grey for "", and for all but the commonest), and its label.
    """
    shown = lines[:PATHS_SHOWN]
    columns = max((len(boxes) for boxes, _ in shown), default=0)
    axes = _axes(ax, title, width=1.6 + 1.1 * max(columns, 4), height=0.9 + 0.5 * max(len(shown), 2))
    axes.spines[:].set_visible(False)
    if not shown:
        return _nothing(axes)
    names = Counter(name for boxes, _ in shown for name, _ in boxes if name)
    colours = dict(zip([name for name, _ in names.most_common()], COLOURS[:-1], strict=False))
    for row, (boxes, text) in enumerate(shown):
        for column, (name, label) in enumerate(boxes):
            colour = colours.get(name, COLOURS[-1])
            axes.barh(row, 0.94, left=column + 0.03, height=0.8, color=_lighter(colour), edgecolor=colour)
            words = wrap(name_shown(label, 2 * WORD_LENGTH), WORD_LENGTH)[:2]
            axes.text(column + 0.5, row, "\n".join(words), ha="center", va="center", fontsize=8, color="black")
        axes.text(columns + 0.1, row, text, va="center", fontsize=8)
    axes.set_xlim(0, columns + 1)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_xticks([])
    if len(shown) < len(lines):
        axes.set_xlabel(f"the first {len(shown)} of {len(lines):,} paths")
    return axes


def name_shown(name: str | None, length: int) -> str:
    """Return a name from data as a label: cut to a length, printable, and not read as a formula."""
    return name_cut(name, length).replace("$", r"\$")


def name_cut(name: str | None, length: int) -> str:
    """Return a name from data, cut to a length and printable; for what is made a label later."""
    name = value_shown(name)
    printable = "".join(character if character.isprintable() else " " for character in name)
    cut = printable if len(printable) <= length else shorten(printable, length, placeholder="…")
    if len(cut) < 2 <= len(printable.strip()):  # one long word
        cut = f"{printable[: length - 1]}…"
    return cut


def _axes(ax: object, title: str, *, width: float = 6.4, height: float = 3.8) -> Axes:
    if isinstance(ax, Axes):
        axes = ax
    elif ax is None:
        _, axes = plt.subplots(figsize=(width, height), layout="constrained")
    else:
        msg = f"plot draws into Axes of matplotlib, not into {ax!r}: .plot().figure.savefig('days.png') makes a file"
        raise TypeError(msg)
    axes.set_title("\n".join(wrap(name_shown(title, 110), 60)))
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _lighter(colour: str) -> tuple[float, ...]:
    """Return the colour mixed with white, so that black text stands out on it."""
    return tuple(1 - 0.35 * (1 - channel) for channel in to_rgb(colour))


def _width(labels: Sequence[str]) -> float:
    """Inches, so that a picture with long names has as much room for its bars as one with short ones."""
    return 6.4 + 0.1 * max(0, max(map(len, labels), default=0) - 14)


def _nothing(axes: Axes, text: str = "no people") -> Axes:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def _drawn(number: float) -> float:
    """Return the number, or the largest one whose axes still end within a float."""
    return min(max(number, -MOST_DRAWN), MOST_DRAWN)


def _scale(axis: Axis, form: NumberForm, *, is_whole: bool = True) -> None:
    """Tick an axis of numbers in round steps: 1, 2 or 5 and zeros; those of counts are whole, of no half person."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=is_whole and form == "number"))
    is_share = form == "share"
    axis.set_major_formatter(
        PercentFormatter(1, decimals=0) if is_share else FuncFormatter(lambda number, _: f"{number:,.6g}")
    )


def _label_at(labels: Sequence[str | None], at: float) -> str:
    return str(labels[int(at)]) if at == int(at) and 0 <= at < len(labels) else ""


def _limits(numbers: Sequence[float], axes: Axes) -> tuple[float, float]:
    """From zero, or from below the lowest negative number, to above the highest: no marker is cut at an edge."""
    lowest, highest = min(0, *numbers), max(0, *numbers)
    room = 0.08 * (highest - lowest)
    return (min(lowest - room, axes.get_ylim()[0]) if lowest < 0 else 0), max(highest + room, axes.get_ylim()[1])
