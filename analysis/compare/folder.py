"""What `sparsespike compare --out DIR` leaves in its folder: results, tables, figures."""

import tempfile
from pathlib import Path

from ...simulator.errors import UserError
from ...simulator.files import write_text
from ..style import save, styled
from .figures import CAPTIONS, compare_figures
from .rows import Results
from .table import full_table, summary_table

REPORTS, FIGURES, RESULTS, TABLE = "reports", "figures", "results.json", "table.md"

_README = """What `sparsespike compare --out` leaves here:
  table.md       every ticket, and each training dense and sparse
  results.json   the same as numbers; README tables and figures are made from it:
                 python -m sparsespike.analysis.compare.readme README.md results.json
  figures/       each figure as PNG and SVG
  reports/       each run as JSON; a run that is here is not computed again
"""


def begin_folder(out: Path) -> Path:
    """The folder of the reports; finds out at once whether `out` can be written, and raises UserError where not."""
    for folder in (out, out / REPORTS, out / FIGURES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = "is no folder" if isinstance(error, (FileExistsError, NotADirectoryError)) else error.strerror
            raise UserError(f"--out {out}: cannot be written: {folder}: {reason}") from None
    write_text(out / "README.txt", _README)
    return out / REPORTS


def write_folder(results: Results, out: Path) -> list[Path]:
    """Write results, tables and figures; a figure of an earlier comparison that these rows do not give is removed."""
    results.save(out / RESULTS)
    tables = (full_table(results), summary_table(results))
    text = "\n\n".join(f"## {table.title}\n\n{table.to_markdown()}" for table in tables)
    write_text(out / TABLE, f"`{results.command}`\n\n{text}\n")
    folder = out / FIGURES
    with styled():
        figures = compare_figures(results)
        for name, figure in figures.items():
            save(figure, folder, name)
    for name in CAPTIONS.keys() - figures.keys():
        for ending in ("png", "svg"):
            (folder / f"{name}.{ending}").unlink(missing_ok=True)
    return [out / TABLE, out / RESULTS, *(folder / f"{name}.png" for name in figures)]
