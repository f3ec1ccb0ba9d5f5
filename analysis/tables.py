"""A small table of text, and its forms: Markdown for the README, HTML for the page. The console's is in console.py."""

import html
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Column heads and rows of text; the first column is the row's name, the others are numbers.

    note: a sentence below the table, or "".
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; `Table.from_json` is the inverse."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Table":
        """The inverse of `to_json`."""
        rows = tuple(tuple(row) for row in data["rows"])
        return Table(data["title"], tuple(data["columns"]), rows, data["note"])

    def to_markdown(self) -> str:
        """A GitHub table, numbers to the right."""
        rule = ("---", *["---:"] * (len(self.columns) - 1))
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.columns, rule, *self.rows)]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])

    def to_html(self) -> str:
        """A <figure> with caption and table; every text is escaped."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in self.rows
        )
        note = f"<p class=note>{html.escape(self.note)}</p>" if self.note else ""
        return (
            f"<figure class=table><figcaption>{html.escape(self.title)}</figcaption><div class=wide><table>"
            f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>{note}</figure>"
        )


_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def prefix(value: float, digits: int = 3) -> tuple[float, str]:
    """The SI prefix that a number is written with, and what it stands for: prefix(0.00123) = (1e-3, "m")."""
    if value == 0:
        return 1.0, ""
    rounded = float(f"{abs(value):.{digits}g}")  # 999.6 must become 1.00 k, not 1000
    return next((pair for pair in _PREFIXES if rounded >= pair[0]), _PREFIXES[-1])


def si(value: float, unit: str, digits: int = 3) -> str:
    """A number with an SI prefix, e.g. si(0.00123, "s") = "1.23 ms"."""
    factor, sign = prefix(value, digits)
    if value == 0:
        return f"0 {unit}"
    scaled = value / factor
    whole = len(str(int(abs(float(f"{scaled:.{digits}g}")))))
    return f"{scaled:,.{max(0, digits - whole)}f} {sign}{unit}"


def kib(count: float) -> str:
    """Bytes in KiB, or MiB from 1024 KiB on."""
    return f"{count / 1024:,.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):,.2f} MiB"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def percent_pruned(share: float) -> str:
    """A share of weights that are gone as a percentage with two decimals, wherever one is shown.

    Rounded, but never up to a whole percent: what is below 90 % does not read as 90.00 %.
    """
    hundredths = round(1e4 * share)
    if hundredths % 100 == 0 and hundredths - 1e4 * share > 1e-8:  # a double's own error is 1e-12
        hundredths -= 1
    return f"{hundredths / 100:.2f} %"
