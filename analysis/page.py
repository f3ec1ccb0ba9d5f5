"""The report as one HTML file that needs nothing else: figures inline, no script, no font, no address to fetch."""

import html
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..simulator.files import write_text
from .tables import Table

_CSS = """
:root { color-scheme: light; --ink: #222; --quiet: #667; --line: #dde; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; color: var(--ink); background: #fff;
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 2px solid var(--accent); }
p { max-width: 46rem; }
figure { margin: 1.25rem 0; }
figcaption { font-weight: 600; margin-bottom: .4rem; }
figure svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody tr:hover { background: #f4f7fa; }
.note, footer { color: var(--quiet); font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .85rem; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Picture:
    """A figure as SVG text, and the sentence that says what to see in it."""

    svg: str
    caption: str


Part = str | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; a plain string is a paragraph."""

    title: str
    parts: Sequence[Part]


def write_page(
    path: str | Path, title: str, lead: str, sections: Sequence[Section], provenance: Mapping[str, str]
) -> None:
    """Write the report, whole or not at all. Raises UserError where it cannot be written.

    lead: one paragraph below the title.  provenance: what the numbers come from, name -> text; stands at the end.
    """
    body = "\n".join(_section(section) for section in sections)
    origin = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in provenance.items())
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(lead)}</p>\n{body}\n"
        f"<h2>What is not modelled</h2>\n<p>{html.escape(not_modelled())}</p>\n"
        f"<h2>Where the numbers come from</h2>\n<dl>{origin}</dl>\n</body>\n</html>\n"
    )
    write_text(path, text)


def _section(section: Section) -> str:
    return "\n".join([f"<h2>{html.escape(section.title)}</h2>", *map(_part, section.parts)])


def _part(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>"
    return part.to_html() if isinstance(part, Table) else _picture(part)


def _picture(picture: Picture) -> str:
    """The figure as an element of the page: without metadata, and with names that no other figure of the page has."""
    text = re.sub(r"<metadata>.*?</metadata>", "", picture.svg, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{zlib.crc32(picture.caption.encode()):08x}-", text)
    attributes = f'role="img" aria-label="{html.escape(picture.caption, quote=True)}"'
    text = text.replace("<svg ", f"<svg {attributes} ", 1)
    return f"<figure><figcaption>{html.escape(picture.caption)}</figcaption>{text}</figure>"


def not_modelled() -> str:
    """The last section of the accelerator's description, so that the page cannot promise more than the rules do."""
    text = (resources.files("sparsespike.simulator") / "ARCHITECTURE.md").read_text("utf-8")
    return " ".join(text.partition("## Not modelled yet")[2].replace("`", "").split())
