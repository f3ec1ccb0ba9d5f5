"""Row engines of cores in random linear layers: rows by R1, flits as they came, sums as the kernels have them."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import numpy as np

from .block_programs import FIELDS, Phase, Sample, linear_phases, texts
from .tools import Program

FORMATS = ("dense", "bitmap", "csr")
ROOM = {
    "INPUTS": 64,
    "OUTPUTS": 24,
    "BANK_DEPTH": 512,
    "ROW_WORDS": 24,
    "CONTEXTS": 4,
    "ACC_W": 24,
    "SWEEP": 5,
    "FLITS": 1024,
}
FEW_WORDS = FIELDS.parameters | ROOM | {"LANES": 4, "ACCUMULATOR_BANKS": 3, "WEIGHT_BANKS": 2, "WORD_W": 13}
FEW_LANES = FIELDS.parameters | ROOM | {"LANES": 3, "ACCUMULATOR_BANKS": 8, "WEIGHT_BANKS": 3, "WORD_W": 24}

Row = list[tuple[int, int]]
"""(output within the core, weight), ascending."""


def row_programs(seed: int, shape: Mapping[str, int]) -> Iterator[Sample]:
    """The cores of random linear layers."""
    fixed = {f"core__{name}": shape[name.upper()] for name in ("lanes", "accumulator_banks", "weight_banks")}
    for phase in linear_phases(seed, core__weight_word_bits=shape["WORD_W"], **fixed):
        for core, router in phase.consumers:
            few = len(phase.at(router, "grant.L.")) <= shape["FLITS"]
            if few and phase.plan.owned[core] <= shape["OUTPUTS"]:
                yield Sample(partial(_serve, phase, shape, core, router), phase.sorts | _padding(phase))


def _padding(phase: Phase) -> frozenset[str]:
    """Whether a run is longer than its bits can say (R1)."""
    weights, core = phase.plan.layer.weights, phase.chip.core
    gaps = np.diff(weights.outputs.astype(np.int64))
    return frozenset({"padding"} if core.weight_format == "csr" and (gaps > 1 << core.index_bits).any() else ())


def _serve(phase: Phase, shape: Mapping[str, int], core: int, router: int) -> tuple[Program, list[str]]:
    plan, chip, stored = phase.plan, phase.chip, phase.plan.stored
    assert plan.cut is not None
    assert stored is not None
    first, end = plan.cut.bounds[core : core + 2].tolist()
    owned = end - first
    rows = [_stored_row(phase, core, first, row) for row in range(plan.source.channels)]

    # The layer's region may begin anywhere in the memory, its rows anywhere in the table.
    row_base, region = (core + owned) % (shape["INPUTS"] - len(rows)), (3 * core + owned) % 7
    words, table = [0] * region, [0] * row_base
    for index, row in enumerate(rows):
        entries, image = _lay_out(phase, row, owned)
        assert len(words) - region == stored.rows.address[index, core]
        assert len(image) == stored.rows.words[index, core]
        widths = shape["ROW_WORDS"].bit_length(), shape["OUTPUTS"].bit_length()
        table.append((len(words) << widths[0] | len(image)) << widths[1] | entries)
        words += image

    arrivals = [(cycle + chip.flit_cycles, flit) for cycle, _, _, flit in phase.at(router, "grant.L.")]
    cycles, banks = phase.outcome.cycles, shape["WEIGHT_BANKS"]
    images = {
        "registers": (
            FORMATS.index(chip.core.weight_format),
            chip.core.weight_bits,
            chip.core.index_bits,
            owned,
            row_base,
            len(arrivals),
            cycles,
        ),
        "rows": table,
        "flits": [cycle << FIELDS.bits | flit for cycle, flit in arrivals],
        **{f"weights{bank}": words[bank::banks] or [0] for bank in range(banks)},
    }
    # Nothing clears the accumulators here: a context's hold what all of its steps added up to.
    sums, contexts = phase.sums()[:, first:end], chip.core.contexts
    totals = [sums[context::contexts].sum(axis=0).tolist() for context in range(contexts)]
    totals += [[0] * owned] * (shape["CONTEXTS"] - contexts)
    log = [
        (cycles, 0, f"sum.{context}.{output}", total % (1 << shape["ACC_W"]))
        for context, outputs in enumerate(totals)
        for output, total in enumerate(outputs)
    ]
    return images, texts([*phase.at(router, "lookup", "take"), *log], unit=0)


def _stored_row(phase: Phase, core: int, first: int, row: int) -> Row:
    """The weights that a core has in a row."""
    stored = phase.plan.stored
    assert stored is not None
    weights = stored.weights
    assert weights.values is not None
    mine = slice(*stored.rows.share[row, core : core + 2].tolist())
    return [
        (output - first, value)
        for output, value in zip(weights.outputs[mine].tolist(), weights.values[mine].tolist(), strict=True)
    ]


def _lay_out(phase: Phase, row: Row, owned: int) -> tuple[int, list[int]]:
    """R1, R2: entries of a row, and its words."""
    core = phase.chip.core
    mask, word_bits = (1 << core.weight_bits) - 1, core.weight_word_bits
    if core.weight_format == "bitmap":
        bits = sum(1 << output for output, _ in row)
        bits |= sum((weight & mask) << owned + at * core.weight_bits for at, (_, weight) in enumerate(row))
        length = owned + len(row) * core.weight_bits
        return len(row), [bits >> at & (1 << word_bits) - 1 for at in range(0, length, word_bits)]
    if core.weight_format == "dense":
        there = dict(row)
        return owned, _pack([there.get(output, 0) & mask for output in range(owned)], core.weight_bits, word_bits)
    longest, expected, entries = (1 << core.index_bits) - 1, 0, []
    for output, weight in row:
        padding, run = divmod(output - expected, longest + 1)
        entries += [longest] * padding + [(weight & mask) << core.index_bits | run]
        expected = output + 1
    return len(entries), _pack(entries, core.weight_bits + core.index_bits, word_bits)


def _pack(entries: Iterable[int], bits: int, word_bits: int) -> list[int]:
    """Whole entries to a word, the first in its lowest bits."""
    entries, each = list(entries), word_bits // bits
    return [
        sum(entry << at * bits for at, entry in enumerate(entries[first : first + each]))
        for first in range(0, len(entries), each)
    ]
