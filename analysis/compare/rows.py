"""The result table as data: what a ticket says of itself, what a run of it counted, and the file that holds them.

Plain numbers, so that tables and figures need neither torch nor a simulation: `results.json` alone gives them again.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from ...simulator.errors import UserError
from ...simulator.files import read_json, write_text

KIND, SCHEMA_VERSION = "comparison", 4

# the variant of a row on which an ANN's 8-bit activations cross the network in one flit each
WIDE_FLITS = "8-bit flits"

# (real-valued MACs, synaptic operations) per image -> pJ
Formula = Callable[[float, float], float]


@dataclass(frozen=True)
class TicketFacts:
    """A ticket without any simulation.

    selector: "none" where all tokens stay.  keep: share that each selector keeps.  shape: as in Spikformer-4-384.
    activation: of a learned selector, "" without one.
    round, seed: of its training, None where it does not say.  schedule: how it is pruned, "" where it never is.
    training: options of its recorded command, but for those that seeds and rounds of one training may differ in.
    tokens: that each block works on.  weights: that may be pruned.
    pruned_of_all: removed ones as a share of all parameters, counted as the paper counts.
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
    activation: str
    round: int | None
    seed: int | None
    schedule: str
    training: dict[str, str]
    tokens: tuple[int, ...]
    weights: int
    weights_left: int
    pruned_of_all: float
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
        return (self.weights - self.weights_left) / self.weights

    @property
    def network(self) -> str:
        """In a word."""
        return "ANN" if self.neuron == "relu" else "spiking"


@dataclass(frozen=True)
class Row:
    """One ticket on one chip. Numbers are per image, means over the simulated ones.

    chip: its name.  variant: "" for the chip that was asked for; what is else about it, e.g. "dense baseline".
    accuracy: share of the simulated images that are right.
    synaptic_operations: spikes, by value, meeting a surviving weight: exact, attention and selectors not among them.
    attention_additions: integers that a spike adds in the second product of attention, in Hadamard attention the
        pairs of a k and a v that both spike; single-bit ANDs are not counted.
    attention_accumulates: what the field charges for both products instead (`counted.attention_accumulates`).
    real_macs: multiplications of real-valued inputs: pixels of the first convolution by surviving weights, once; those
        of learned selectors; in an ANN everything, attention included. Zero activations and pruned weights cost none.
    formula_pj: the field's energy formula on real_macs, and on synaptic_operations with attention_accumulates.
    energy_pj …: of the simulation, DRAM and loading included, with the band of its prices.
    dram_pj: what of it DRAM takes, traffic and background.  assumed_share: of it that rests on assumed prices.
    load_bytes: from DRAM once for all images, not per image.  dram_bytes: all other traffic of DRAM.
    per_weight: layer -> (surviving weights, pJ that falls with one of them), the mean; weightless layers left out.
    """

    ticket: TicketFacts
    chip: str
    variant: str
    accuracy: float | None
    synaptic_operations: float
    attention_additions: float
    attention_accumulates: float
    real_macs: float
    formula_pj: float
    energy_pj: float
    energy_low_pj: float
    energy_high_pj: float
    dram_pj: float
    assumed_share: float
    cycles: float
    latency_s: float
    load_bytes: int
    dram_bytes: float
    sram_bytes: float
    per_weight: dict[str, tuple[int, float]]

    @property
    def name(self) -> str:
        """The ticket's, and what is else about its chip."""
        return f"{self.ticket.name}, {self.variant}" if self.variant else self.ticket.name


def make_row(ticket: TicketFacts, report: Mapping[str, Any], variant: str, formula: Formula) -> Row:
    """A row from a report's JSON and its `comparison` (`counted`'s numbers, of all images, by function).

    The report's first layer is the convolution of the pixels, as in every traced ticket.
    """
    images, counts, energy = report["images"], report["counts"], report["energy_pj"]
    events = report["synaptic_events"]
    real = events if ticket.neuron == "relu" else report["layers"][0]["synaptic_events"]
    real_macs = (real + counts["selector_mac"] + counts["attention_mac"]) / images
    operations, additions = (events - real) / images, counts["attention_add"] / images
    accumulates = report["comparison"]["attention_accumulates"] / images
    traffic, loaded = report["traffic_bytes"], report["comparison"]["loaded_once"]
    return Row(
        ticket=ticket,
        chip=report["chip"],
        variant=variant,
        accuracy=report["accuracy"],
        synaptic_operations=operations,
        attention_additions=additions,
        attention_accumulates=accumulates,
        real_macs=real_macs,
        formula_pj=formula(real_macs, operations + accumulates),
        energy_pj=energy["total"] / images,
        energy_low_pj=energy["low"] / images,
        energy_high_pj=energy["high"] / images,
        dram_pj=energy["dram_share"] * energy["total"] / images,
        assumed_share=energy["assumed_share"],
        cycles=report["cycles"] / images,
        latency_s=report["latency_s"],
        load_bytes=loaded,
        dram_bytes=(traffic["dram_read"] + traffic["dram_write"] - loaded) / images,
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
        return tuple(row for row in self.rows if row.variant in ("", WIDE_FLITS))

    def save(self, path: str | Path) -> None:
        """Write it as JSON, a line per row, whole or not at all."""
        head = {"kind": KIND, "schema_version": SCHEMA_VERSION}
        head |= {field.name: getattr(self, field.name) for field in fields(self) if field.name != "rows"}
        rows = ",\n".join(json.dumps(asdict(row), allow_nan=False) for row in self.rows)
        write_text(path, json.dumps(head, indent=1, allow_nan=False)[:-2] + f',\n "rows": [\n{rows}\n]}}\n')


def load_results(path: str | Path) -> Results:
    """Read what `Results.save` wrote. Raises UserError where it is missing, cut off, newer, or something else."""
    data = read_json(path, "results")
    if not isinstance(data, dict) or data.pop("kind", None) != KIND:
        raise UserError(f"{path}: not the results.json of `sparsespike compare --out`")
    version = data.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise UserError(f"{path}: version {version}, not {SCHEMA_VERSION} as this program reads; compare again")
    try:
        rows = tuple(_row(row) for row in data.pop("rows"))
        if not rows:
            raise ValueError("no rows")
        return _checked(Results(**data, rows=rows))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path}: damaged, or not the results.json of `sparsespike compare --out`: {error}") from None


def _row(data: dict[str, Any]) -> Row:
    ticket = data["ticket"]
    facts = TicketFacts(**(ticket | {"tokens": tuple(ticket["tokens"])}))
    per_weight = {name: (weights, pj) for name, (weights, pj) in data["per_weight"].items()}
    if facts.weights_left > facts.weights:
        raise ValueError(f"weights_left = {facts.weights_left} of {facts.weights} weights")
    if not all(isinstance(number, (int, float)) for pair in per_weight.values() for number in pair):
        raise TypeError(f"per_weight = {per_weight}")
    return _checked(Row(**(data | {"ticket": _checked(facts), "per_weight": per_weight})))


_SHARES = ("accuracy", "accuracy_float", "accuracy_integer", "pruned_of_all", "keep", "assumed_share")
_POSITIVE = ("weights", "tokens", "macs", "keep", "energy_pj", "cycles", "images", "test_images")


def _checked(record: Any) -> Any:
    """The record, if each field is of its type (a whole number may stand for a real one) and has a possible value.

    Raises TypeError and ValueError naming the field.
    """
    for field in fields(record):
        kind = field.type
        kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        plain = tuple(get_origin(one) or one for one in kinds)
        value = getattr(record, field.name)
        if isinstance(value, bool) or not isinstance(value, (*plain, int) if float in plain else plain):
            raise TypeError(f"{field.name} = {value!r}")
        numbers: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, (int, float)) and not _possible(field.name, number):
                raise ValueError(f"{field.name} = {value!r}")
    return record


def _possible(name: str, number: float) -> bool:
    """Everything here is finite and at least 0, a share at most 1, and some numbers are never 0."""
    return (
        math.isfinite(number)
        and (number > 0 if name in _POSITIVE else number >= 0)
        and not (name in _SHARES and number > 1)
    )


def short_names(files: Sequence[str]) -> list[str]:
    """Names of shipped tickets as they are; files without ending, all with as many folders as tell all names apart."""
    paths = [Path(file.removesuffix(".safetensors")) for file in files]
    longest = max((len(path.parts) for path in paths), default=1)

    def names(length: int) -> list[str]:
        return ["/".join(path.parts[-length:]) for path in paths]

    return next((found for found in map(names, range(1, longest)) if len({*found}) == len(found)), names(longest))
