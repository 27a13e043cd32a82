"""One HTML page of several results, to be sent to a colleague."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from typing import Any, Final

from kmexport.reports.results import Table

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b }
section { overflow-x: auto; margin: 0 0 3rem } img { max-width: 100%; height: auto }
table { border-collapse: collapse } th { text-align: left } td, th { padding: .2rem .8rem .2rem 0 }
tr + tr td { border-top: 1px solid #ddd }
"""


def page(results: Iterable[Any], *, title: str = "Report", pictures: bool = True) -> str:
    """Return one HTML page of several results, each with its table and its picture, and of your words between them.

    `results` are what reports give, a coverage, or text, which becomes a paragraph. The page needs no other file and no
    network, and it is ASCII, so any encoding writes it. `pictures=False` leaves the pictures out; they need the extra
    `plot`. Names from the export are escaped. Raises TypeError for anything else; ImportError without that extra.

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
    sections = [f"<section>{_section(result, pictures=pictures)}</section>" for result in results]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    )
    body = f"<h1>{html.escape(title)}</h1>\n" + "\n".join(sections)
    text = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'
    return text.encode("ascii", "xmlcharrefreplace").decode()


def _section(result: Any, *, pictures: bool) -> str:
    if isinstance(result, str):
        return f"<p>{html.escape(result)}</p>"
    if not hasattr(result, "_repr_html_"):
        msg = f"a page is made of results of reports, and of text, not {type(result).__name__}"
        raise TypeError(msg)
    table: str = result._repr_html_()
    if pictures and isinstance(result, Table) and hasattr(result, "plot"):
        return table + _picture(result)
    return table


def _picture(result: Any) -> str:
    """Return the picture as an image that is in the page itself."""
    figure = result.plot().figure
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  # `plot` has said which extra is missing

    plt.close(figure)
    source = base64.b64encode(drawn.getvalue()).decode()
    return (
        f'<p><img alt="{html.escape(str(result).partition(chr(10))[0])}" src="data:image/svg+xml;base64,{source}"></p>'
    )
