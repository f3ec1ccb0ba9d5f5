"""The page of a result file: points to hover, filter and click through to their chip files, in one file that needs
nothing else, no address and no font.

page.html is its frame, page.css its looks, page.js what it does; the plots are plotly's.
"""

import base64
import html
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from .....simulator.errors import UserError
from .....simulator.files import write_text
from ....page import not_modelled
from ....views import Report
from ...store import Row
from .data import page_data

# Nothing is fetched, whatever a script asks for; plotly's WebGL layer compiles its drawing commands itself (eval).
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; worker-src blob:"
)


def write_page(
    path: str | Path,
    rows: Sequence[Row],
    report_of: Callable[[Row], Report],
    base: Mapping[str, Any],
    objectives: Sequence[str],
    step: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the page, whole or not at all; the arguments are those of `page_data`.

    Raises UserError where plotly is not installed, or the file cannot be written.
    """
    plotly = _plotly()
    data = page_data(rows, report_of, base, objectives, step)
    title = f"sparsespike: {data['points']:,} points around {base['name']}"
    parts = {
        "TITLE": html.escape(title),
        "POLICY": POLICY,
        "STYLE": _asset("page.css"),
        "LIMITS": html.escape(not_modelled()),
        "PROGRAM": html.escape(", ".join(dict.fromkeys(row.program for row in rows))),
        "PLOTLY": packed(plotly),
        "DATA": packed(json.dumps(data, separators=(",", ":"), ensure_ascii=False)),
        "SCRIPT": _asset("page.js"),
    }
    text = _asset("page.html")
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part)
    write_text(path, text)


def packed(text: str) -> str:
    """A text, deflated and in base64, as page.js unpacks it."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _asset(name: str) -> str:
    return (resources.files("sparsespike.analysis.explore.views.page") / name).read_text("utf-8")


def _plotly() -> str:
    """plotly's script, as its package has it."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UserError("the page needs the library plotly: pip install 'sparsespike[report]'") from None
    return str(get_plotlyjs())
