"""Sphinx: Markdown pages (MyST), the API from the docstrings (autodoc), the theme furo."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.pycode import ModuleAnalyzer

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the docs of this tree, whatever is installed

import kmexport  # noqa: E402

project = "kmexport"
author = "the kmexport authors"
copyright = author  # noqa: A001
version = release = kmexport.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.intersphinx", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"kmexport {release}"
html_static_path = ["_static"]
html_css_files = ["kmexport.css"]

# The README's links to headings of these pages need anchors.
myst_heading_anchors = 3

# The notebook is executed at each build; an error in it is one of the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120

# What is copied are the commands: no prompts, and no output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

# In the docstrings a single backquote means code, as in Markdown.
default_role = "code"
autosummary_generate = False  # the tables of names only
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
# Types with a place of their own in the reference go by their names there.
autodoc_type_aliases = {"Record": "kmexport.Record", "OnError": "kmexport.OnError", "Progress": "kmexport.Progress"}
# One argument a line, where a line is too short for all.
maximum_signature_line_length = 88
python_trailing_comma_in_multi_line_signatures = False

# The build must pass with no network: an inventory that can't be fetched is a warning, and warnings are errors.
# Set KMEXPORT_DOCS_ONLINE=1 to have links into the docs of Python and fsspec.
if os.environ.get("KMEXPORT_DOCS_ONLINE"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "fsspec": ("https://filesystem-spec.readthedocs.io/en/stable", None),
    }


def strip_blank_ends(_: Any, doctree: nodes.document) -> None:
    """An example ends in a blank line for doctest, which readers need not see."""
    for kind in (nodes.literal_block, nodes.doctest_block):
        for block in doctree.findall(kind):
            text = block.astext().rstrip()
            if isinstance(block, nodes.literal_block):
                block.rawsource = text  # the highlighter looks at it
            block[:] = [nodes.Text(text)]


def drop_overloads(_: Any, function: Any, __: bool) -> None:
    """The signature of the function itself has every argument, once; its overloads are for type checkers."""
    name = getattr(function, "__module__", None) or ""
    if name.startswith("kmexport"):
        analyzer = ModuleAnalyzer.for_module(name)
        analyzer.analyze()
        analyzer.overloads.clear()


# What a signature says in place of names that only the sources know. A ~ hides the module of a name.
KINDS = "type[kmexport.Record] | ~typing.Iterable[type[kmexport.Record]] | None"
PLAIN_TYPES = [
    (r"~?TypeAliasForwardRef\('([^']+)'\)", r"\1"),
    (r"kinds: .*?(?= = None)", f"kinds: {KINDS}"),
    (r": (Names|Identities)\b", ": str | Iterable[str] | None"),
    (r": Properties\b", ": Iterable[str] | Mapping[str, Any]"),
    (r": Prefer\b", ": Literal['named_first', 'numeric_first'] | Callable[[str], Any]"),
    (r": Zone\b", ": str | tzinfo"),
    (r": Every\b", ": Literal['hour', 'day', 'week', 'month']"),
    (r": At\b", ": Literal['first_ever', 'last_ever', 'first_in_window', 'last_before_end', 'at_step']"),
    (r" \| ~?[\w.]*Literal\[[~\w.]*All\.ALL\]", ""),
    (r"~?[\w.]*_HasRevisions", "kmexport.Bucket"),
    (r": ~?[\w.]*ReportSource\b", ": kmexport.Facts | kmexport.Bucket | str | Iterable[kmexport.Record]"),
    (r"= Limits\([^)]*\)", "= Limits()"),
    (r"(?<!results: ~collections\.abc\.)(?<!results: ~typing\.)(Itera\w+)\[~typing\.Any\]", r"\1[kmexport.Record]"),
    (r"~?[\w.]*\b_?(Column)?Export\b", "kmexport.Bucket"),
    (r"= NOTHING\b", "= {}"),
    (r"(: |\[)~?[\w.]*\bBy\b", r"\1str | kmexport.reports.Split"),
    (r": ~?[\w.]*\bTake\b", ": Literal['first', 'last']"),
    (r": ~?[\w.]*\bGroup\b", ": Literal['day', 'week', 'month']"),
    (r"(\*\*\w+): ~?[\w.]*Unpack\[[^]]*\]", r"\1"),
    (r"[~\w.]*\b_R\b|(?<=\[)[~\w.]*\bR\b", "kmexport.Record"),
]


def plain_types(_: Any, kind: str, *about: Any) -> tuple[str | None, str | None] | None:
    arguments, returns = about[-2:]
    if kind not in ("class", "function", "method"):
        return None
    for pattern, words in PLAIN_TYPES:
        arguments = re.sub(pattern, words, arguments or "")
        returns = re.sub(pattern, words, returns or "")
    return arguments, returns


def setup(app: Any) -> None:
    app.connect("autodoc-before-process-signature", drop_overloads)
    app.connect("autodoc-process-signature", plain_types)
    app.connect("doctree-read", strip_blank_ends)
