"""The chip: a frozen description, read from TOML, units in the key names, every fault reported at once.

ARCHITECTURE.md says what each block does with these numbers. Derived quantities are properties with their formula.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from .errors import UserError, nearest
from .files import parse_toml
from .origin import Fidelity, Source, changed_sources, named_keys, source_faults
from .shipped import named_text, shipped_names
from .validation import Part, sentences, walk_fields

Count = Annotated[int, Field(ge=1, le=65536)]
Kib = Annotated[float, Field(gt=0, le=1 << 20)]

WeightFormat = Literal["dense", "bitmap", "csr"]
TokenPolicy = Literal["skip", "gate", "off"]
AttentionOrder = Literal["auto", "qk_first", "kv_first"]
LoopOrder = Literal["time_outer", "time_inner"]
Partition = Literal["channel", "token"]
Schedule = Literal["layerwise", "pipelined"]
SramDevice = Literal["lstp", "lop", "hp"]

# What a chip is compared with: the same chip with these keys. With `dense` pruned weights are stored, fetched and added
# as zeros (R1) and dropped tokens computed in vain (G3); spikes stay events.
BASELINES: dict[str, dict[str, Any]] = {"dense": {"core.weight_format": "dense", "token_unit.policy": "off"}}

# Parts of a chip file that are about its numbers, and are none of its keys.
ORIGIN = {"fidelity", "sources"}
NAMES = {"name", "description"}  # keys that are no numbers
PERMISSIONS = {"technology.sram_extrapolate"}  # nor are these


class Technology(Part):
    """The process that the chip is built in; energy tables of another node are refused."""

    node_nm: int = Field(ge=3, le=180, description="feature size, nanometres")
    sram_device: SramDevice = Field(description="CACTI transistor type of the SRAM macros: standby, operating, speed")
    sram_extrapolate: bool = Field(
        default=False, description="price macros beyond the SRAM table by its last octave's trend; reports mark them"
    )


class Mesh(Part):
    """The network on chip: a mesh of tiles, XY routing, multicast trees; section N of ARCHITECTURE.md."""

    columns: Annotated[int, Field(ge=1, le=16)] = Field(description="tiles of cores from west to east")
    rows: Annotated[int, Field(ge=1, le=16)] = Field(description="tiles of cores from north to south")
    buffer_flits: Count = Field(description="depth of each router input buffer")
    link_bits: Count = Field(description="width of a link; a wider flit takes several cycles")
    value_bits: Annotated[int, Field(ge=1, le=8)] = Field(description="spike value in a flit; larger values repeat it")
    channel_bits: Annotated[int, Field(ge=1, le=16)] = Field(description="channel number in a flit")
    tree_bits: Annotated[int, Field(ge=1, le=16)] = Field(description="multicast tree number in a flit")


class Core(Part):
    """A neurocore: event FIFO, sparse weight memory, lanes, accumulators, neurons; section C of ARCHITECTURE.md."""

    fifo_flits: Count = Field(description="depth of the event FIFO")
    contexts: Annotated[int, Field(ge=1, le=64)] = Field(description="tokens that may be accumulated at one time")
    lanes: Count = Field(description="weights added per cycle")
    input_macs: Count = Field(description="8-bit multiply-accumulates per cycle on real input")
    accumulator_banks: Count = Field(description="banks of the accumulators; output modulo banks")
    accumulator_words: Count = Field(description="accumulators per core, over all contexts")
    accumulator_bits: Annotated[int, Field(ge=8, le=32)] = Field(description="width of an accumulator")
    weight_format: WeightFormat = Field(description="how a row of weights is stored")
    weight_bits: Annotated[int, Field(ge=2, le=8)] = Field(description="width of a weight")
    index_bits: Annotated[int, Field(ge=1, le=16)] = Field(description="run length before a csr entry")
    weight_kib: Kib = Field(description="weight memory per core")
    weight_banks: Count = Field(description="banks of the weight memory, word-interleaved")
    weight_word_bits: Count = Field(description="width of a weight bank")
    pointer_kib: Kib = Field(description="row pointers per core, 32 bits each")
    sweep_width: Count = Field(description="neurons updated per cycle")
    potential_kib: Kib = Field(description="membrane potentials per core")
    potential_bits: Annotated[int, Field(ge=8, le=32)] = Field(description="width of a membrane potential")
    spike_kib: Kib = Field(description="spikes and residual stream per core")
    encode_width: Count = Field(description="channels of spike memory that the encoder looks at in a cycle")
    order: LoopOrder = Field(
        description="time_outer: all tokens of a batch first; time_inner: all batches of a token first"
    )
    time_batch: Annotated[int, Field(ge=1, le=8)] = Field(description="timesteps that share one fetch of a row")
    partition: Partition = Field(
        description="how linear layers are cut among the cores: by output channels or by tokens"
    )


class TokenUnit(Part):
    """The token-skip logic and the selector's arithmetic; section T of ARCHITECTURE.md."""

    policy: TokenPolicy = Field(description="skip pruned tokens, gate their enables, or off: compute them in vain")
    scan_width: Count = Field(description="bits of the keep bitmap read per cycle")
    macs: Count = Field(description="selector multiply-accumulates per cycle")
    comparators: Count = Field(description="score comparisons per cycle")
    feature_kib: Kib = Field(description="feature sums of all tokens, 16 bits each")
    weight_kib: Kib = Field(description="weights of the selectors")


class AttentionUnits(Part):
    """Units for (Q K^T) V on spikes; section A of ARCHITECTURE.md."""

    units: Annotated[int, Field(ge=1, le=16)] = Field(description="units; heads are dealt out to them in turn")
    width: Count = Field(description="AND-popcount bits, or gated additions, per cycle")
    sweep_width: Count = Field(description="attention neurons updated per cycle")
    order: AttentionOrder = Field(description="which product comes first; auto compares tokens with head width")
    operand_kib: Kib = Field(description="q, k and v bitmaps per unit")
    accumulator_words: Count = Field(description="accumulators per unit")


class Dram(Part):
    """Off-chip memory behind one in-order channel; section D of ARCHITECTURE.md."""

    type: str = Field(description="name of the memory in the energy table")
    bandwidth_gb_s: Annotated[float, Field(gt=0, le=10000)] = Field(description="10^9 bytes per second")
    latency_ns: Annotated[float, Field(ge=0, le=100000)] = Field(description="from request to first byte")
    burst_bytes: Count = Field(description="smallest transfer; requests are rounded up to it")


class Chip(Part):
    """A whole accelerator. Frozen; `replace` gives a changed copy that is checked again.

    fidelity, sources: what is said about it (origin.py); nothing of it has an influence on what is simulated.
    """

    name: str = Field(description="what the chip is called in reports")
    description: str = Field(description="one line about it")
    clock_mhz: Annotated[float, Field(gt=0, le=10000)] = Field(description="one clock for all units")
    schedule: Schedule = Field(description="layerwise: one layer after the other on all cores; pipelined: all at once")
    technology: Technology
    mesh: Mesh
    core: Core
    token_unit: TokenUnit
    attention: AttentionUnits
    dram: Dram
    fidelity: Fidelity | None = None
    sources: Annotated[tuple[Source, ...], Field(strict=False)] = ()

    def settings(self) -> dict[str, Any]:
        """Every key of the chip with its value, in tables as in the file; what is said about them is left out."""
        return self.model_dump(exclude=ORIGIN)

    @property
    def cores(self) -> int:
        """Neurocores: columns x rows."""
        return self.mesh.columns * self.mesh.rows

    @property
    def clock_period_ns(self) -> float:
        """1000 / clock_mhz."""
        return 1000.0 / self.clock_mhz

    @property
    def service_columns(self) -> int:
        """Columns east of the cores that hold the token unit and the attention units: ceil((1 + units) / rows)."""
        return -(-(1 + self.attention.units) // self.mesh.rows)

    @property
    def router_columns(self) -> int:
        """Routers from west to east: columns + service_columns."""
        return self.mesh.columns + self.service_columns

    @property
    def routers(self) -> int:
        """Routers of the whole mesh, numbered row by row from the north-west."""
        return self.router_columns * self.mesh.rows

    @cached_property
    def core_routers(self) -> tuple[int, ...]:
        """Router of each core: core p stands in column p % columns, row p // columns."""
        columns = self.mesh.columns
        return tuple(core // columns * self.router_columns + core % columns for core in range(self.cores))

    @cached_property
    def service_routers(self) -> tuple[int, ...]:
        """Routers of the token unit (first) and the attention units: down each service column in turn."""
        rows = self.mesh.rows
        return tuple(
            unit % rows * self.router_columns + self.mesh.columns + unit // rows
            for unit in range(1 + self.attention.units)
        )

    @property
    def context_bits(self) -> int:
        """Bits that number a context: ceil(log2(contexts)), at least 1."""
        return max(1, (self.core.contexts - 1).bit_length())

    @property
    def flit_bits(self) -> int:
        """end-of-token bit + tree + context + channel + a value per timestep of a batch (F4)."""
        values = self.core.time_batch * self.mesh.value_bits
        return 1 + self.mesh.tree_bits + self.context_bits + self.mesh.channel_bits + values

    @property
    def flit_cycles(self) -> int:
        """Cycles that a flit holds a link: ceil(flit_bits / link_bits)."""
        return -(-self.flit_bits // self.mesh.link_bits)

    def dram_cycles(self, transfer_bytes: int) -> int:
        """Rule D1: ceil(latency x clock) + ceil(bytes in whole bursts x clock / bandwidth); 0 for no bytes.

        Exact: the decimals of the chip file are taken as they stand, not as binary floats.
        """
        if transfer_bytes == 0:
            return 0
        latency_cycles, clock, bandwidth = self._dram_rates
        return latency_cycles + -(-self.in_bursts(transfer_bytes) * clock // bandwidth)

    @cached_property
    def _dram_rates(self) -> tuple[int, int, int]:
        """Cycles of latency; and so many cycles per so many bytes, a ratio of whole numbers."""
        clock, bandwidth, latency = (
            Fraction(str(value)) for value in (self.clock_mhz, self.dram.bandwidth_gb_s, self.dram.latency_ns)
        )
        per_byte = clock / (bandwidth * 1000)
        return int(-(-latency * clock // 1000)), per_byte.numerator, per_byte.denominator

    def in_bursts(self, transfer_bytes: int) -> int:
        """Bytes that really move: rounded up to whole bursts."""
        return -(-transfer_bytes // self.dram.burst_bytes) * self.dram.burst_bytes

    def replace(self, overrides: Mapping[str, Any]) -> "Chip":
        """A copy with some values changed, e.g. {"core.lanes": 32}; checked as a file is.

        Raises UserError naming every unknown key (with the nearest valid one) and every impossible value.
        """
        data = self.model_dump()
        known, faults, changed = set(chip_keys()), [], []
        for key, value in overrides.items():
            if key not in known:
                faults.append(f"{key}: unknown key; {nearest(key, chip_keys())}")
                continue
            *path, leaf = key.split(".")
            table = data[path[0]] if path else data
            if table[leaf] != value:
                changed.append(key)
            table[leaf] = value
        data["sources"] = changed_sources(self.sources, (key for key in changed if key not in NAMES | PERMISSIONS))
        return _build(data, f"chip {self.name!r}", faults)

    def baseline(self, name: str) -> "Chip":
        """The same chip with everything off that a baseline has not (`BASELINES`), called e.g. `mesh16-dense`.

        Its memories stay what they are: dense weights that do not fit are refused when a trace is placed (P4).
        Raises UserError for an unknown baseline.
        """
        if name not in BASELINES:
            raise UserError(f"no baseline {name!r}; {nearest(name, BASELINES)}")
        return self.replace(BASELINES[name] | {"name": f"{self.name}-{name}"})


def chip_keys() -> list[str]:
    """Every key of a chip file in dotted form, in file order; what is said about them is none."""
    return [key for key, _ in walk_fields(Chip) if key not in ORIGIN]


def chip_fields() -> dict[str, str]:
    """Dotted key -> what it means; for `sparsespike hardware`."""
    return {key: field.description or "" for key, field in walk_fields(Chip) if key not in ORIGIN}


def chip_names() -> list[str]:
    """Names of the shipped chips."""
    return shipped_names("chips")


def load_chip(source: str | Path, overrides: Mapping[str, Any] | None = None) -> Chip:
    """A shipped chip by name, or a chip file by path; `overrides` as in `Chip.replace`.

    Raises UserError for an unknown name, an unreadable file, and for all faults of its content at once.
    """
    text, where = chip_text(source)
    chip = _build(parse_toml(text, where), where, [])
    return chip.replace(overrides) if overrides else chip


def chip_text(source: str | Path) -> tuple[str, str]:
    """The TOML text of a chip, its sources in comments, and where it stands. Raises UserError where there is none."""
    name = str(source)
    return named_text("chips", source, "chip"), f"{name}.toml" if name in chip_names() else name


def _build(data: Any, where: str, faults: Sequence[str]) -> Chip:
    """Validate; one UserError with every fault: those found before, pydantic's, and those between keys."""
    found = list(faults)
    numbers = [key for key in chip_keys() if key not in NAMES | PERMISSIONS]
    about = source_faults(named_keys(data.get("sources")), numbers, [] if data.get("fidelity") is None else numbers)
    try:
        chip = Chip.model_validate(data)
    except ValidationError as error:
        found += sentences(error, [*chip_keys(), *sorted(ORIGIN)]) + about
    else:
        found += _cross_faults(chip) + about
        if not found:
            return chip
    raise UserError(f"{where}: " + "; ".join(found))


def _cross_faults(chip: Chip) -> list[str]:
    """Faults that no single key has."""
    faults = []
    if chip.core.weight_word_bits < chip.core.weight_bits + chip.core.index_bits:
        faults.append("core.weight_word_bits: a word must hold a weight and its index")
    if chip.core.weight_kib * 8192 < chip.core.weight_banks * chip.core.weight_word_bits:
        faults.append("core.weight_kib: less than one word in each bank")
    return faults
