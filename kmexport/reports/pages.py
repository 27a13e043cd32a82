"""One HTML page of several results, to be sent to a colleague."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from kmexport.arguments import check_type
from kmexport.columns.schema import without_halves
from kmexport.reports.results import ROWS_SHOWN, Table

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation
    from matplotlib.figure import Figure

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b }
section { overflow-x: auto; margin: 0 0 3rem } img { max-width: 100%; height: auto }
table { border-collapse: collapse } th { text-align: left } td, th { padding: .2rem .8rem .2rem 0 }
tr + tr td { border-top: 1px solid #ddd }
@media (max-width: 40rem) { table { font-size: .75rem } td, th { padding-right: .5rem } }
"""


def page(results: Iterable[Any], *, title: str = "Report", pictures: bool = True) -> str:
    """Return one HTML page of several results, each with its table and its picture, and of your words between them.

    `results` are what reports give, a coverage, or text, which becomes a paragraph; of your own, a relation as
    `facts.sql()` gives it (its first 200 rows), a DataFrame, or what matplotlib drew (Axes or a Figure). The page needs
    no other file and no network, and it is ASCII, so any encoding writes it. `pictures=False` leaves the reports'
    pictures out; they need the extra `plot`. Names from the export are escaped. Raises TypeError for anything else;
    ImportError without that extra.

    >>> from kmexport import Event, reports
    >>> records = [Event("bob", 1349222400, "signed up")]
    >>> counts = reports.event_counts(records, "signed up")
    >>> text = page(["All of it:", counts], pictures=False)
    >>> text.count("<section>"), "signed up" in text
    (2, True)
    """
    if isinstance(results, str | Table) or not isinstance(results, Iterable):
        msg = f"a page is made of a list of results, not of one {type(results).__name__}: put it into [ ]"
        raise TypeError(msg)
    check_type("title", title, str, "text")
    sections = [f"<section>{_section(result, pictures=pictures)}</section>" for result in results]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    )
    body = f"<h1>{html.escape(title)}</h1>\n" + "\n".join(sections)
    text = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'
    return text.encode("ascii", "xmlcharrefreplace").decode()


def _section(result: Any, *, pictures: bool) -> str:
    from duckdb import DuckDBPyRelation  # noqa: PLC0415  # kmexport.tables says which extra is missing

    if isinstance(result, str):
        return f"<p>{html.escape(result)}</p>"
    if isinstance(result, DuckDBPyRelation):
        return _rows(result)
    figure: Any = getattr(result, "figure", None)
    if hasattr(figure, "savefig"):  # Axes or a Figure
        return _image(figure, getattr(result, "get_title", figure.get_suptitle)())
    if not hasattr(result, "_repr_html_"):
        msg = (
            "a page is made of results of reports, of text, and of relations of facts.sql(), DataFrames and figures, "
            f"not of {type(result).__name__}"
        )
        raise TypeError(msg)
    table: str = result._repr_html_()
    if pictures and isinstance(result, Table) and hasattr(result, "plot"):
        return table + _picture(result)
    return table


def _rows(relation: DuckDBPyRelation) -> str:
    """Return the first rows of a query as a table."""
    rows = relation.limit(ROWS_SHOWN + 1).fetchall()
    body = "".join(_row(row, "td") for row in rows[:ROWS_SHOWN])
    more = f"<p>the first {ROWS_SHOWN} rows</p>" if len(rows) > ROWS_SHOWN else ""
    return without_halves(f"<table>{_row(relation.columns, 'th')}{body}</table>{more}")


def _row(cells: Iterable[object], tag: str) -> str:
    texts = (html.escape("-" if cell is None else str(cell)) for cell in cells)
    return f"<tr>{''.join(f'<{tag}>{text}</{tag}>' for text in texts)}</tr>"


def _picture(result: Any) -> str:
    figure = result.plot().figure
    image = _image(figure, str(result).partition("\n")[0])
    from matplotlib import pyplot as plt  # noqa: PLC0415  # `plot` has said which extra is missing

    plt.close(figure)
    return image


def _image(figure: Figure, alt: str) -> str:
    """Return the picture as an image that is in the page itself."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg")
    source = base64.b64encode(drawn.getvalue()).decode()
    return f'<p><img alt="{html.escape(alt)}" src="data:image/svg+xml;base64,{source}"></p>'
