"""What `sparsespike compare --out DIR` leaves in its folder: results, tables, figures."""

from pathlib import Path

from ...simulator.files import write_text
from ..style import save, styled
from .figures import CAPTIONS, compare_figures
from .rows import Results
from .table import full_table, summary_table

REPORTS, RESULTS, TABLE = "reports", "results.json", "table.md"

_README = """What `sparsespike compare --out` leaves here:
  table.md       every ticket, and each training dense and sparse
  results.json   the same as numbers; README tables and figures are made from it:
                 python -m sparsespike.analysis.compare.readme README.md results.json
  figures/       each figure as PNG and SVG
  reports/       each run as JSON; a run that is here is not computed again
"""


def begin_folder(out: Path) -> Path:
    """The folder of the reports; finds out at once whether `out` can be written. Raises UserError where not."""
    write_text(out / "README.txt", _README)
    return out / REPORTS


def write_folder(results: Results, out: Path) -> list[Path]:
    """Write results, tables and figures; a figure of an earlier comparison that these rows do not give is removed."""
    results.save(out / RESULTS)
    tables = (full_table(results), summary_table(results))
    text = "\n\n".join(f"## {table.title}\n\n{table.to_markdown()}" for table in tables)
    write_text(out / TABLE, f"`{results.command}`\n\n{text}\n")
    folder = out / "figures"
    with styled():
        figures = compare_figures(results)
        for name, figure in figures.items():
            save(figure, folder, name)
    for name in CAPTIONS.keys() - figures.keys():
        for ending in ("png", "svg"):
            (folder / f"{name}.{ending}").unlink(missing_ok=True)
    return [out / TABLE, out / RESULTS, *(folder / f"{name}.png" for name in figures)]
