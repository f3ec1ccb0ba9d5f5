"""Fill a README's blocks about tickets from measured rows, so that no figure or number in it is typed.

A block is `<!-- tickets:WHAT-DATA -->` … `<!-- /tickets:WHAT-DATA -->`: WHAT is a table (all, summary) or a figure of
`compare_figures`, DATA the data set of one of the result files.
    python -m sparsespike.analysis.compare.readme README.md results.json…
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from ...simulator.errors import UserError, nearest
from ...simulator.files import write_text
from ..readme import GALLERY, block_names, fill_blocks
from ..style import save_png, styled
from ..tables import Table
from .figures import CAPTIONS, compare_figures
from .groups import in_order
from .rows import Results, load_results
from .table import full_table, summary_table

KIND = "tickets"
TABLES: dict[str, Callable[[Results], Table]] = {
    "all": lambda results: full_table(replace(results, rows=in_order(results.rows))),
    "summary": summary_table,
}


def fill(readme: str | Path, results: Sequence[str | Path]) -> list[str]:
    """Rewrite every marked block of `readme`; pictures in use are drawn into analysis/gallery beside it.

    Returns the names of the blocks. Raises UserError where a file cannot be read, two are of one data set, there is no
    block, or a block has no table or figure of its name; then nothing is written.
    """
    readme = Path(readme)
    try:
        text = readme.read_text("utf-8")
    except OSError as error:
        raise UserError(f"{readme}: cannot be read: {error.strerror}") from None
    names = block_names(text, KIND)
    if not names:
        raise UserError(f"{readme}: has no block <!-- {KIND}:WHAT-DATA -->")
    with styled():
        tables, pictures = _contents(results)
        for name in names:
            if name not in tables and name not in pictures:
                raise UserError(f"{readme}: no table or figure {name!r}; {nearest(name, [*tables, *pictures])}")
        for name in names:
            if name in pictures:
                save_png(pictures[name], readme.parent / GALLERY / f"{name}.png")

    def content(name: str) -> str:
        return tables[name].to_markdown() if name in tables else _image(name)

    write_text(readme, fill_blocks(text, KIND, content))
    return names


def _contents(results: Sequence[str | Path]) -> tuple[dict[str, Table], dict[str, Figure]]:
    """Every table and figure of every result file by the name of its block."""
    tables: dict[str, Table] = {}
    pictures: dict[str, Figure] = {}
    for path in results:
        found = load_results(path)
        if f"all-{found.data}" in tables:
            raise UserError(f"{path}: a second result file for {found.data}; give one")
        tables |= {f"{what}-{found.data}": make(found) for what, make in TABLES.items()}
        pictures |= {f"{what}-{found.data}": figure for what, figure in compare_figures(found).items()}
    return tables, pictures


def _image(name: str) -> str:
    what, _, data = name.partition("-")
    return f"![{CAPTIONS[what]} ({data})]({GALLERY.as_posix()}/{name}.png)"


if __name__ == "__main__":
    try:
        if len(sys.argv) < 3:
            raise UserError("give a README.md and at least one results.json")
        sys.stdout.write("filled: " + ", ".join(fill(sys.argv[1], sys.argv[2:])) + "\n")
    except UserError as mistake:
        sys.stderr.write(f"error: {mistake}\n")
        sys.exit(2)
