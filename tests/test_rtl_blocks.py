"""Each block of the SystemVerilog twin against the kernels: the same log, line by line, on random programs.

SPARSESPIKE_RTL=long takes a thousand programs per elaboration, else there are about a hundred in all.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from rtl import channel_programs, neuron_programs, router_programs, row_programs, selector_programs, tools
from rtl.block_programs import Sample

LONG = os.environ.get("SPARSESPIKE_RTL") == "long"
PROGRAMS, PER_NETWORK = (1000, 5) if LONG else (16, 1)
ONLY_LONG = ("fifo", "row engine, few lanes", "encoder, wide words", "token unit, wide")
"""Left to the long run, so that the short one has few elaborations."""
TOOL = "verilator" if LONG else "icarus"
"""Icarus builds in no time and runs slowly; Verilator the other way round."""

BUFFERS = ("buffers of one", "FIFO of one", "wide flits", "several producers")
ORDERS = ("time_outer", "time_inner", "one context", "several contexts", "dropped tokens, all the same")
FORMATS = ("dense", "bitmap", "csr", "padding", "values above 1")


@dataclass(frozen=True)
class Block:
    """A testbench, and where its programs come from.

    least: lines that a program demands at least, on the average.  sorts: programs of each of these must be there,
    and of the rare ones where there are many.
    """

    files: tuple[str, ...]
    draw: Callable[[int, Mapping[str, int]], Iterator[Sample]]
    parameters: Mapping[str, int]
    least: int
    sorts: tuple[str, ...]
    rare: tuple[str, ...] = ()


ROUTER = ("tb_router.sv", "router.sv", "fifo.sv")
ROWS = ("tb_row_engine.sv", "row_engine.sv", "fifo.sv", "sram.sv")
NEURONS = ("tb_neuron_array.sv", "neuron_array.sv", "sram.sv")
ENCODER = ("tb_encoder.sv", "encoder.sv", "sram.sv")
UNIT = ("tb_token_unit.sv", "token_unit.sv", "fifo.sv", "sram.sv")
CHANNEL = ("tb_dram.sv", "dram.sv", "fifo.sv")
SCANS = (*ORDERS, "scans", "long scans", "values above 1", "values beyond a flit")
FORMS = (*ORDERS, *selector_programs.FORMS, "table")
RARE_FORMS = ("scans", "no hidden weights")

BLOCKS = {
    "fifo": Block(
        ("tb_fifo.sv", "fifo.sv"),
        router_programs.fifo_programs,
        router_programs.FIFO,
        200,
        (*BUFFERS, "several contexts"),
    ),
    "router": Block(
        ROUTER,
        router_programs.router_programs,
        router_programs.ROUTER,
        500,
        (*BUFFERS, "one tree per pair"),
    ),
    "row engine, few words": Block(ROWS, row_programs.row_programs, row_programs.FEW_WORDS, 100, FORMATS),
    "row engine, few lanes": Block(ROWS, row_programs.row_programs, row_programs.FEW_LANES, 100, FORMATS),
    "neuron array": Block(
        NEURONS,
        neuron_programs.array_programs,
        neuron_programs.ARRAY,
        40,
        (*ORDERS, "saturation", "no leak", "multiplied leak", "soft reset"),
        ("forwarding", "residual"),
    ),
    "encoder, narrow words": Block(ENCODER, neuron_programs.encoder_programs, neuron_programs.NARROW, 40, SCANS),
    "encoder, wide words": Block(ENCODER, neuron_programs.encoder_programs, neuron_programs.WIDE, 40, SCANS),
    "token unit, narrow": Block(
        UNIT, selector_programs.selector_programs, selector_programs.NARROW, 100, FORMS, RARE_FORMS
    ),
    "token unit, wide": Block(
        UNIT, selector_programs.selector_programs, selector_programs.WIDE, 100, FORMS, RARE_FORMS
    ),
    "dram": Block(
        CHANNEL, channel_programs.channel_programs, channel_programs.CHANNEL, 10, ("resident", "streaming", "spills")
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BLOCKS if LONG or name not in ONLY_LONG])
def test_block_equals_the_kernels(name: str, tmp_path: Path, pytestconfig: pytest.Config, note: Callable[[str], None]):
    need_tools(TOOL)
    block = BLOCKS[name]
    samples = list(islice(drawn(block), PROGRAMS))
    programs, logs = zip(*(sample.make() for sample in samples), strict=True)
    tools.write_programs(tmp_path, programs)
    top = block.files[0].removesuffix(".sv")
    binary = tools.build(top, block.files, pytestconfig.cache.mkdir("rtl"), block.parameters, TOOL)
    events, cycles = Counter[str](), 0
    for number, (log, found) in enumerate(zip(logs, tools.run(binary, tmp_path, len(programs)), strict=True)):
        demanded = tools.in_order(log)
        if found != demanded:
            pytest.fail(f"program {number}:\n{tools.first_differences(demanded, found)}")
        events.update(line.split()[2].split(".")[0] for line in demanded)
        cycles += int(demanded[-1].split()[0]) if demanded else 0
    told = ", ".join(f"{number:,} {event}" for event, number in sorted(events.items()))
    size = f"{len(programs)} programs, {cycles:,} cycles, {events.total():,} events"
    note(f"RTL and kernels agree, {name}: {size} ({told})")
    assert events.total() > block.least * len(programs)
    wanted = block.sorts + block.rare * LONG
    sorts = Counter(sort for sample in samples for sort in sample.sorts)
    few = {sort: sorts[sort] for sort in wanted if sorts[sort] < PROGRAMS / 100}
    assert not few, f"hardly any programs of these sorts: {few}"


def drawn(block: Block) -> Iterator[Sample]:
    """A few programs from each of the random networks."""
    for seed in count():
        samples = list(block.draw(seed, block.parameters))
        chosen = np.random.default_rng([71, seed]).permutation(len(samples))
        yield from (samples[at] for at in chosen[:PER_NETWORK])


def need_tools(*names: str) -> None:
    if absent := tools.missing(*names):
        (pytest.fail if LONG else pytest.skip)(absent)
