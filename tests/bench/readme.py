"""Fill the README's performance table from a bench's result: python -m bench.readme out/bench.json README.md.

Its block is `<!-- bench:performance -->` … `<!-- /bench:performance -->`.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsespike.analysis.readme import block_names, fill_blocks
from sparsespike.analysis.tables import Table
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.files import write_text

from .rows import BARS, format_ratio, format_seconds

KIND, NAME = "bench", "performance"
COLUMNS = ("row", "", "measured", "bar", "synaptic events", "time of a run", "compared with")


def fill(readme: Path, result: Path) -> None:
    """Rewrite the block. Raises UserError where a file cannot be read, or the README has no such block."""
    try:
        text, found = readme.read_text("utf-8"), json.loads(result.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{result}: not JSON: {error}") from None
    if block_names(text, KIND) != [NAME]:
        raise UserError(f"{readme}: one block <!-- {KIND}:{NAME} --> is needed")
    there = {row.get("name") for row in found.get("rows", [])} if isinstance(found, dict) else set()
    if not there or not there <= set(BARS) or "provenance" not in found:
        raise UserError(f"{result}: not what make bench writes: rows {sorted(map(str, there))}")
    write_text(readme, fill_blocks(text, KIND, lambda name: performance_table(found).to_markdown()))


def performance_table(result: Mapping[str, Any]) -> Table:
    """The rows of bench.json as the README shows them."""
    provenance = result["provenance"]
    versions = ", ".join(f"{name} {provenance[name]}" for name in ("python", "numba", "numpy"))
    note = f"Bold: the bar is met. Medians of {provenance['rounds']} interleaved rounds, one thread, kernels compiled"
    note += f" before; {versions}"
    note += f", SANA-FE {provenance['sanafe']}." if provenance["sanafe"] else "; SANA-FE could not be installed."
    return Table("", COLUMNS, tuple(_cells(row) for row in result["rows"]), note)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    bar = BARS[row["name"]]
    measured = format_seconds(row["seconds"]) if bar.unit == "s" else format_ratio(row["ratio"])
    against = f"{row['against']}: {format_seconds(row['against_seconds'])}" if row["against_seconds"] else "-"
    emphasis = "**" if row["met"] else ""
    return (
        f"`{row['name']}`",
        bar.what,
        f"{emphasis}{measured}{emphasis}",
        bar.text,
        f"{row['events']:,}",
        format_seconds(row["seconds"]),
        against,
    )


if __name__ == "__main__":
    try:
        if len(sys.argv) != 3:
            raise UserError("give a bench.json and a README.md")
        fill(Path(sys.argv[2]), Path(sys.argv[1]))
        sys.stdout.write(f"filled: {NAME}\n")
    except UserError as mistake:
        sys.stderr.write(f"error: {mistake}\n")
        sys.exit(2)
