"""What is synthesised for the area table: each block's files, its sizes, and the terms of its fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Block:
    """A module of the twin (or a primitive), and how its gates are to grow.

    quantities: of the parameters, what the terms are products of; the simulator works out the same of a chip's keys.
    ties: input ports that a chip has wired to a constant, "{NAME}" standing for a parameter.
    macros: arrays of registers that stand for an SRAM macro and are left out; sram.sv always is.
    points: the first is complete, the others say what is changed in it.  held_out: likewise, but left out of the fit.
    """

    files: tuple[str, ...]
    quantities: Callable[[Sizes], dict[str, int]]
    terms: tuple[str, ...]
    points: tuple[Sizes, ...]
    held_out: tuple[Sizes, ...]
    ties: Mapping[str, str] = field(default_factory=dict)
    macros: tuple[str, ...] = ()

    def sizes(self) -> list[tuple[dict[str, int], bool]]:
        """Every elaboration, in order, and whether it is held out of the fit."""
        first = self.points[0]
        fitted = [(dict(first) | dict(point), False) for point in self.points]
        return fitted + [(dict(first) | dict(point), True) for point in self.held_out]


def bits(number: int) -> int:
    """Bits that count up to a number."""
    return number.bit_length()


def flit_bits(sizes: Sizes) -> int:
    return 1 + sum(sizes[name] for name in ("TREE_W", "CONTEXT_W", "CHANNEL_W", "VALUE_W"))


def of_fifo(sizes: Sizes) -> dict[str, int]:
    return {"depth": sizes["DEPTH"], "width": sizes["WIDTH"]}


def of_router(sizes: Sizes) -> dict[str, int]:
    return {"buffer_flits": sizes["BUFFER_DEPTH"], "flit_bits": flit_bits(sizes), "trees": sizes["TREES"]}


def of_encoder(sizes: Sizes) -> dict[str, int]:
    tokens = sizes["TOKENS"]
    return {"encode_bits": sizes["ENCODE_W"] * sizes["STREAM_W"], "tokens": tokens, "token_bits": bits(tokens)}


def of_neuron_array(sizes: Sizes) -> dict[str, int]:
    names = {
        "sweep_width": "SWEEP",
        "contexts": "CONTEXTS",
        "potential_bits": "POTENTIAL_W",
        "accumulator_bits": "ACC_W",
    }
    return {quantity: sizes[name] for quantity, name in names.items()}


def of_row_engine(sizes: Sizes) -> dict[str, int]:
    """`window_bits` of the row are at hand; entries are aligned to words, but for those of a bitmap."""
    names = {
        "lanes": "LANES",
        "accumulator_banks": "ACCUMULATOR_BANKS",
        "accumulator_bits": "ACC_W",
        "weight_bits": "WEIGHT_W",
        "value_bits": "VALUE_W",
        "outputs": "OUTPUTS",
        "weight_banks": "WEIGHT_BANKS",
    }
    index = sizes["INDEX_W"] if sizes["FORMAT"] == 2 else 0
    return {quantity: sizes[name] for quantity, name in names.items()} | {
        "accumulator_words": sizes["CONTEXTS"] * sizes["OUTPUTS"],
        "window_bits": sizes["ROW_WORDS"] * sizes["WORD_W"],
        "entry_bits": sizes["WEIGHT_W"] + index,
        "bitmap": int(sizes["FORMAT"] == 1),
        "aligned": int(sizes["FORMAT"] != 1),
    }


def of_token_unit(sizes: Sizes) -> dict[str, int]:
    names = {
        "macs": "MACS",
        "comparators": "COMPARATORS",
        "scan_width": "SCAN",
        "tokens": "TOKENS",
        "hidden": "HIDDEN",
    }
    return {quantity: sizes[name] for quantity, name in names.items()}


def of_width(sizes: Sizes) -> dict[str, int]:
    return {"width": sizes["WIDTH"]}


def of_multiplier(sizes: Sizes) -> dict[str, int]:
    return {"width": sizes["WIDTH"], "value_bits": sizes["VALUE_W"]}


def of_accumulators(sizes: Sizes) -> dict[str, int]:
    return {"accumulator_words": sizes["WORDS"], "accumulator_bits": sizes["ACC_W"]}


FLIT = {"TREE_W": 4, "CONTEXT_W": 1, "CHANNEL_W": 6, "VALUE_W": 2}
ROWS = FLIT | {
    "INPUTS": 16,
    "OUTPUTS": 8,
    "LANES": 2,
    "ACCUMULATOR_BANKS": 4,
    "WEIGHT_BANKS": 2,
    "WORD_W": 16,
    "BANK_DEPTH": 64,
    "ROW_WORDS": 4,
    "WEIGHT_W": 8,
    "INDEX_W": 4,
    "CONTEXTS": 2,
    "ACC_W": 16,
    "SWEEP": 4,
    "FORMAT": 2,
}
WIDTHS = ({"WIDTH": 8}, {"WIDTH": 12}, {"WIDTH": 16}, {"WIDTH": 24})

BLOCKS: dict[str, Block] = {
    "adder": Block(("primitives/adder.sv",), of_width, ("width",), WIDTHS, ({"WIDTH": 32},)),
    "comparator": Block(("primitives/comparator.sv",), of_width, ("width",), WIDTHS, ({"WIDTH": 32},)),
    "register": Block(("primitives/register.sv",), of_width, ("width",), WIDTHS, ({"WIDTH": 32},)),
    "and_popcount": Block(("primitives/and_popcount.sv",), of_width, ("width",), WIDTHS, ({"WIDTH": 64},)),
    "multiplier": Block(
        ("primitives/multiplier.sv",),
        of_multiplier,
        ("width*value_bits", "width", "value_bits"),
        ({"WIDTH": 8, "VALUE_W": 8}, {"WIDTH": 4}, {"VALUE_W": 4}, {"WIDTH": 16}, {"WIDTH": 16, "VALUE_W": 4}),
        ({"WIDTH": 24, "VALUE_W": 8},),
    ),
    "accumulators": Block(
        ("primitives/accumulators.sv",),
        of_accumulators,
        ("accumulator_words*accumulator_bits", "accumulator_bits"),
        ({"WORDS": 16, "ACC_W": 16}, {"WORDS": 32}, {"WORDS": 64}, {"ACC_W": 24}, {"WORDS": 32, "ACC_W": 24}),
        ({"WORDS": 128, "ACC_W": 24},),
    ),
    "fifo": Block(
        ("fifo.sv",),
        of_fifo,
        ("depth*width", "depth", "width", "const"),
        (
            {"WIDTH": 16, "DEPTH": 8},
            {"DEPTH": 4},
            {"DEPTH": 16},
            {"WIDTH": 26},
            {"WIDTH": 32, "DEPTH": 4},
            {"WIDTH": 8},
        ),
        ({"WIDTH": 26, "DEPTH": 32},),
    ),
    "router": Block(
        ("router.sv", "fifo.sv"),
        of_router,
        ("buffer_flits*flit_bits", "flit_bits", "trees", "const"),
        (
            FLIT | {"TREES": 16, "BUFFER_DEPTH": 4, "COUNT_W": 8},
            {"BUFFER_DEPTH": 8},
            {"BUFFER_DEPTH": 2},
            {"CHANNEL_W": 12},
            {"CHANNEL_W": 12, "VALUE_W": 6},
            {"TREE_W": 5, "TREES": 32},
            {"TREE_W": 6, "TREES": 64},
        ),
        ({"TREE_W": 7, "TREES": 128, "CHANNEL_W": 12, "BUFFER_DEPTH": 8},),
    ),
    "encoder": Block(
        ("encoder.sv",),
        of_encoder,
        ("encode_bits", "tokens*token_bits", "const"),
        (
            FLIT | {"ENCODE_W": 4, "STREAM_W": 2, "TOKENS": 32, "WORDS": 16, "SCAN": 8},
            {"ENCODE_W": 8},
            {"ENCODE_W": 16},
            {"ENCODE_W": 8, "STREAM_W": 4},
            {"TOKENS": 16},
            {"TOKENS": 64},
            {"TOKENS": 128},
        ),
        ({"ENCODE_W": 32, "STREAM_W": 4, "TOKENS": 128},),
        ties={"cfg_scan_width": "{SCAN}", "cfg_value_bits": "{VALUE_W}"},
    ),
    "neuron_array": Block(
        ("neuron_array.sv",),
        of_neuron_array,
        ("sweep_width*potential_bits", "sweep_width*accumulator_bits", "contexts", "const"),
        (
            {"OUTPUTS": 32, "SWEEP": 2, "CONTEXTS": 2, "CONTEXT_W": 1, "POTENTIAL_W": 16, "ACC_W": 16},
            {"SWEEP": 1},
            {"SWEEP": 4},
            {"POTENTIAL_W": 24},
            {"ACC_W": 24},
            {"SWEEP": 4, "POTENTIAL_W": 12},
            {"CONTEXTS": 4, "CONTEXT_W": 2},
            {"CONTEXTS": 8, "CONTEXT_W": 3},
        ),
        ({"SWEEP": 8, "POTENTIAL_W": 24, "ACC_W": 28},),
        ties={"cfg_potential_bits": "{POTENTIAL_W}"},
    ),
    "row_engine": Block(
        ("row_engine.sv",),
        of_row_engine,
        (
            "accumulator_words*accumulator_bits",
            "aligned*lanes*window_bits*entry_bits",
            "bitmap*lanes*window_bits*entry_bits",
            "bitmap*lanes*outputs",
            "lanes*weight_bits*value_bits",
            "accumulator_banks*accumulator_bits",
            "window_bits*weight_banks",
            "window_bits",
            "const",
        ),
        (
            ROWS,
            {"OUTPUTS": 16},
            {"OUTPUTS": 32},
            {"CONTEXTS": 4, "CONTEXT_W": 2},
            {"LANES": 4},
            {"LANES": 1},
            {"LANES": 4, "ACCUMULATOR_BANKS": 8},
            {"LANES": 8, "ACCUMULATOR_BANKS": 8},
            {"LANES": 4, "OUTPUTS": 32},
            {"ACCUMULATOR_BANKS": 2},
            {"ACC_W": 24},
            {"LANES": 4, "ACC_W": 24},
            {"LANES": 4, "ACCUMULATOR_BANKS": 8, "ACC_W": 24},
            {"VALUE_W": 4},
            {"VALUE_W": 8},
            {"WEIGHT_W": 4},
            {"ROW_WORDS": 8},
            {"WORD_W": 24},
            {"WEIGHT_BANKS": 4},
            {"FORMAT": 0},
            {"FORMAT": 0, "LANES": 4},
            {"FORMAT": 1},
            {"FORMAT": 1, "OUTPUTS": 16},
            {"FORMAT": 1, "LANES": 4},
            {"FORMAT": 1, "LANES": 4, "OUTPUTS": 32},
            {"FORMAT": 1, "LANES": 8, "OUTPUTS": 16},
        ),
        ({"LANES": 4, "ACCUMULATOR_BANKS": 8, "OUTPUTS": 32, "ACC_W": 24, "WORD_W": 32},),
        ties={"cfg_format": "2'd{FORMAT}", "cfg_weight_bits": "{WEIGHT_W}", "cfg_index_bits": "{INDEX_W}"},
    ),
    "token_unit": Block(
        ("token_unit.sv", "fifo.sv"),
        of_token_unit,
        ("macs*hidden", "macs", "hidden", "comparators*tokens", "comparators", "scan_width*tokens", "tokens", "const"),
        (
            {"MACS": 2, "COMPARATORS": 2, "SCAN": 2, "TOKENS": 8, "HIDDEN": 4, "CHANNEL_W": 1, "FIFO_DEPTH": 2},
            {"MACS": 1},
            {"MACS": 4},
            {"HIDDEN": 8},
            {"MACS": 1, "HIDDEN": 16},
            {"COMPARATORS": 4},
            {"TOKENS": 16},
            {"TOKENS": 16, "COMPARATORS": 4},
            {"TOKENS": 16, "SCAN": 8},
            {"SCAN": 4},
        ),
        ({"COMPARATORS": 4, "SCAN": 4, "TOKENS": 32, "HIDDEN": 8},),
        macros=("features", "activations"),
    ),
}
