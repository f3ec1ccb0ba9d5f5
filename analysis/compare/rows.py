"""The result table as data: what a ticket says of itself, what a run of it counted, and the file that holds them.

Plain numbers, so that tables and figures need neither torch nor a simulation: `results.json` alone gives them again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from ...simulator.errors import UserError
from ...simulator.files import write_text

KIND, SCHEMA_VERSION = "comparison", 1

# (real-valued MACs, synaptic operations) per image -> pJ
Formula = Callable[[float, float], float]


@dataclass(frozen=True)
class TicketFacts:
    """A ticket without any simulation.

    selector: "none" where all tokens stay.  keep: share that each selector keeps.  shape: as in Spikformer-4-384.
    round, seed: of its training, None where it does not say.  schedule: how it is pruned, "" where it never is.
    tokens: that each block works on.  parameters: all trained ones, of which `weights` may be pruned.
    macs: dense multiply-accumulates per image, the paper's FLOPs.
    accuracy_float, accuracy_integer: shares of the whole test split that the float and the integer network get right,
        None until measured.  accuracy_from: "ticket", recorded when it was trained, or "measured" here.
    """

    name: str
    sha256: str
    neuron: str
    selector: str
    keep: float
    shape: str
    round: int | None
    seed: int | None
    schedule: str
    tokens: tuple[int, ...]
    weights: int
    weights_left: int
    parameters: int
    macs: int
    accuracy_float: float | None = None
    accuracy_integer: float | None = None
    accuracy_from: str = "ticket"

    @property
    def tokens_text(self) -> str:
        """64/44/31/21, or 64 where every block works on all of them."""
        return "/".join(map(str, self.tokens if len(set(self.tokens)) > 1 else self.tokens[:1]))

    @property
    def pruned(self) -> float:
        """Share of the prunable weights that is gone."""
        return 1 - self.weights_left / self.weights

    @property
    def pruned_of_all(self) -> float:
        """The same weights as a share of all parameters: the number that the paper prints."""
        return (self.weights - self.weights_left) / self.parameters


@dataclass(frozen=True)
class Row:
    """One ticket on one chip. Numbers are per image, means over the simulated ones.

    chip, baseline: its name, and the baseline of it that ran, "" for the chip itself.
    accuracy: share of the simulated images that are right.
    synaptic_operations: spikes, by value, meeting a surviving weight: exact, attention and selectors not among them.
    attention_additions: integers that a spike adds in the second product of attention; the first one's single-bit ANDs
        are not counted.
    real_macs: multiplications of real-valued inputs: pixels of the first convolution by surviving weights, once; those
        of learned selectors; in an ANN everything, attention included.
    formula_pj: the field's energy formula on these three counts.  energy_pj … : of the simulation, DRAM included.
    per_weight: layer -> (surviving weights, pJ that falls with one of them), the mean; weightless layers left out.
    """

    ticket: TicketFacts
    chip: str
    baseline: str
    accuracy: float | None
    synaptic_operations: float
    attention_additions: float
    real_macs: float
    formula_pj: float
    energy_pj: float
    energy_low_pj: float
    energy_high_pj: float
    dram_pj: float
    cycles: float
    latency_s: float
    dram_bytes: float
    sram_bytes: float
    per_weight: dict[str, tuple[int, float]]

    @property
    def name(self) -> str:
        """The ticket's, and the baseline's where one ran."""
        return f"{self.ticket.name}, {self.baseline} baseline" if self.baseline else self.ticket.name


def make_row(ticket: TicketFacts, report: Mapping[str, Any], baseline: str, formula: Formula) -> Row:
    """A row from a report's JSON; its first layer is the convolution of the pixels, as in every traced ticket."""
    images, counts, energy = report["images"], report["counts"], report["energy_pj"]
    events = report["synaptic_events"]
    real = events if ticket.neuron == "relu" else report["layers"][0]["synaptic_events"]
    real_macs = (real + counts["selector_mac"] + counts["attention_mac"]) / images
    operations, additions = (events - real) / images, counts["attention_add"] / images
    traffic = report["traffic_bytes"]
    return Row(
        ticket=ticket,
        chip=report["chip"],
        baseline=baseline,
        accuracy=report["accuracy"],
        synaptic_operations=operations,
        attention_additions=additions,
        real_macs=real_macs,
        formula_pj=formula(real_macs, operations + additions),
        energy_pj=energy["total"] / images,
        energy_low_pj=energy["low"] / images,
        energy_high_pj=energy["high"] / images,
        dram_pj=energy["by_component"]["dram"] / images,
        cycles=report["cycles"] / images,
        latency_s=report["latency_s"],
        dram_bytes=(traffic["dram_read"] + traffic["dram_write"]) / images,
        sram_bytes=report["sram_bytes"] / images,
        per_weight={
            layer["name"]: (layer["per_weight"]["weights"], layer["per_weight"]["energy_pj"] / images)
            for layer in report["layers"]
            if layer["per_weight"] is not None
        },
    )


@dataclass(frozen=True)
class Results:
    """Rows that were made by one command, and what they depend on together.

    images: simulated, from the first of the data set's test split.  test_images: of the whole split.
    mac_pj, operation_pj: prices of the formula.  program: version and digest of the code that ran.
    command: without its tickets and folders.
    """

    data: str
    images: int
    test_images: int
    chip: str
    energy_table: str
    mac_pj: float
    operation_pj: float
    program: str
    command: str
    rows: tuple[Row, ...]

    @property
    def on_chip(self) -> tuple[Row, ...]:
        """The rows without those of a baseline."""
        return tuple(row for row in self.rows if not row.baseline)

    def save(self, path: str | Path) -> None:
        """Write it as JSON, a line per row, whole or not at all."""
        head = {"kind": KIND, "schema_version": SCHEMA_VERSION}
        head |= {field.name: getattr(self, field.name) for field in fields(self) if field.name != "rows"}
        rows = ",\n".join(json.dumps(asdict(row)) for row in self.rows)
        write_text(path, json.dumps(head, indent=1)[:-2] + f',\n "rows": [\n{rows}\n]}}\n')


def load_results(path: str | Path) -> Results:
    """Read what `Results.save` wrote. Raises UserError where it is missing, cut off, newer, or something else."""
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON, or cut off ({error})") from None
    if not isinstance(data, dict) or data.pop("kind", None) != KIND:
        raise UserError(f"{path}: not the results.json of `sparsespike compare --out`")
    version = data.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise UserError(f"{path}: version {version}, not {SCHEMA_VERSION} as this program reads; compare again")
    try:
        rows = tuple(_row(row) for row in data.pop("rows"))
        return _checked(Results(**data, rows=rows))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged, or not the results.json of `sparsespike compare --out`: {error}") from None


def _row(data: dict[str, Any]) -> Row:
    ticket = data["ticket"]
    facts = TicketFacts(**(ticket | {"tokens": tuple(ticket["tokens"])}))
    per_weight = {name: (weights, pj) for name, (weights, pj) in data["per_weight"].items()}
    return _checked(Row(**(data | {"ticket": _checked(facts), "per_weight": per_weight})))


def _checked(record: Any) -> Any:
    """The record, if each of its fields is of its type; a whole number may stand for a real one. Raises TypeError."""
    for field in fields(record):
        kind = field.type
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        plain = tuple(get_origin(one) or one for one in kinds)
        value = getattr(record, field.name)
        if not isinstance(value, (*plain, int) if float in plain else plain):
            raise TypeError(f"{field.name} = {value!r}")
    return record


def short_names(files: Sequence[str]) -> list[str]:
    """Each file by its name without ending, and as many of its folders as tell it from the others."""
    parts = [Path(file.removesuffix(".safetensors")).parts for file in files]
    lengths = [1] * len(parts)

    def tails() -> list[str]:
        return ["/".join(part[-length:]) for part, length in zip(parts, lengths, strict=True)]

    for _ in range(max(map(len, parts), default=0)):
        names = tails()
        lengths = [length + (names.count(name) > 1) for name, length in zip(names, lengths, strict=True)]
    return tails()
