"""The mesh of the SystemVerilog twin against the kernels: the same log, line by line, on random stacks of layers.

SPARSESPIKE_RTL=long takes 300 programs, else there are 120 and none of the largest mesh, which takes long to build.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rtl import golden, mesh_cases, tools
from rtl.mesh_program import DESIGN, FILES, Case, Shape, expected_log, write_program
from sparsespike.simulator.trace import KEEP_ALL, Linear, Trace

Note = Callable[[str], None]
LONG = os.environ.get("SPARSESPIKE_RTL") == "long"
PROGRAMS = {"2x2": 100, "3x2": 100, "4x4": 100} if LONG else {"2x2": 60, "3x2": 60}
AT_ONCE = 10
LEAST = {
    "send": 100,
    "grant": 1000,
    "pop": 500,
    "lookup": 500,
    "take": 500,
    "sweep": 50,
    "release": 50,
    "spike": 100,
    "open": 5,
}
"""Lines that a program has at least on the average."""
BLOCK = "block1"
"""The first of the shipped ticket that stands behind a selector."""


@dataclass
class Compared:
    """How much was compared, so that a test that compares nothing fails."""

    programs: int = 0
    cycles: int = 0
    events: Counter[str] = field(default_factory=Counter)

    def add(self, log: Sequence[str]) -> None:
        """A program whose logs agree."""
        self.programs += 1
        self.cycles += int(log[-1].split()[0])
        self.events.update(line.split()[2].split(".")[0] for line in log)

    def line(self, what: str) -> str:
        """In one line."""
        events = ", ".join(f"{count:,} {event}" for event, count in sorted(self.events.items()))
        return (
            f"RTL and kernels agree, {what}: {self.programs} programs, {self.cycles:,} cycles, "
            f"{self.events.total():,} events ({events})"
        )


def need_tools(*names: str) -> None:
    if absent := tools.missing(*names):
        (pytest.fail if LONG else pytest.skip)(absent)


def compare(
    binary: Path, folder: Path, shape: Shape, cases: Iterable[Case], compared: Compared, first: int = 0
) -> None:
    """The RTL's log of every case is that of the kernels."""
    cases = list(cases)
    tools.write_programs(folder, (write_program(case, shape) for case in cases))
    for number, (case, found) in enumerate(zip(cases, tools.run(binary, folder, len(cases)), strict=True)):
        demanded = expected_log(case, shape)
        if found != demanded:
            pytest.fail(f"program {first + number}:\n{tools.first_differences(demanded, found)}")
        compared.add(demanded)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_mesh_equals_the_kernels(name: str, tmp_path: Path, pytestconfig: pytest.Config, note: Note):
    need_tools("verilator")
    shape, compared = mesh_cases.SHAPES[name], Compared()
    binary = tools.build("tb_mesh", FILES, pytestconfig.cache.mkdir("rtl"), shape)
    for first in range(0, PROGRAMS[name], AT_ONCE):
        cases = (mesh_cases.draw_case(seed, shape) for seed in range(first, first + AT_ONCE))
        compare(binary, tmp_path, shape, cases, compared, first)
    note(compared.line(f"mesh {name}"))
    assert compared.programs == PROGRAMS[name]
    for event, least in LEAST.items():
        assert compared.events[event] > least * compared.programs, event


def test_random_programs_are_of_every_sort():
    """What the mesh is held against the kernels for: few programs of a sort would show little."""
    sorts = Counter[str]()
    for name, programs in PROGRAMS.items():
        for seed in range(min(programs, 40)):
            sorts.update(sorts_of(mesh_cases.draw_case(seed, mesh_cases.SHAPES[name])))
    assert min(sorts.values()) >= 8, sorts
    assert len(sorts) == 25, sorts


def sorts_of(case: Case) -> list[str]:
    """What is special about a case."""
    trace, mesh, core = case.trace, case.chip.mesh, case.chip.core
    layers = [layer for layer in trace.layers if isinstance(layer, Linear)]
    given = trace.streams["given"].events
    assert given is not None
    largest = 1 if given.values is None else int(given.values.max(initial=1))
    behind = layers[0].selector >= 0
    rows = [layer.weights.pointers for layer in layers]
    cuts = (case.cuts or {}).values()
    membranes = [layer.membrane for layer in layers if layer.membrane]
    found = {
        "skipped tokens": behind and case.chip.token_unit.policy == "skip",
        "dropped tokens, all the same": behind and case.chip.token_unit.policy != "skip",
        "residual": any(layer.residual for layer in layers),
        "values above 1": largest > 1,
        "values beyond a flit": largest >= 1 << mesh.value_bits,
        "empty rows": any((row[1:] == row[:-1]).any() for row in rows),
        "buffers of one": mesh.buffer_flits == 1,
        "FIFO of one": core.fifo_flits == 1,
        "wide flits": case.chip.flit_cycles > 1,
        "no leak": any(membrane.decay == KEEP_ALL for membrane in membranes),
        "multiplied leaks": any(membrane.multiplies for membrane in membranes),
        "soft resets": any(membrane.reset_by is not None for membrane in membranes),
        "cores without outputs": any(len(set(bounds)) < len(bounds) for bounds in cuts),
    }
    names = [name for name, there in found.items() if there]
    return [*names, core.weight_format, core.order, f"{core.contexts} contexts", f"{len(layers)} layers"]


@pytest.mark.torch
def test_mlp_of_the_shipped_ticket(trace: Trace, tmp_path: Path, pytestconfig: pytest.Config, note: Note):
    """fc1 and fc2 of a block on the tokens that its selector kept, with the residual, on two digits."""
    need_tools("verilator")
    shape, compared = mesh_cases.SHAPES["2x2"], Compared()
    chip = mesh_cases.chip_of(shape, core__contexts=4, core__fifo_flits=16, mesh__buffer_flits=4)
    mlp = mesh_cases.mlp_of(trace, BLOCK)
    binary = tools.build("tb_mesh", FILES, pytestconfig.cache.mkdir("rtl"), shape)
    cases = [Case(mlp, chip, image=image) for image in range(mlp.images)]
    compare(binary, tmp_path, shape, cases, compared)
    note(compared.line(f"MLP of {BLOCK} of the shipped ticket"))
    kept, timesteps = mlp.kept[0].shape[1], mlp.numerics.timesteps
    assert compared.events["sweep"] == mlp.images * timesteps * kept * chip.cores * 2
    assert compared.events.total() > 100_000


@pytest.mark.parametrize("name", golden.PROGRAMS)
def test_kernels_write_the_golden_logs(name: str):
    """What the RTL wrote once; needs no tools."""
    demanded, found = golden.golden_log(name), expected_log(golden.golden_case(name), golden.SHAPE)
    assert not tools.first_differences(found, demanded)
    assert found == demanded
    assert len(found) > 200


def test_golden_logs_are_those_of_the_rtl(tmp_path: Path, pytestconfig: pytest.Config):
    need_tools("verilator")
    for name, log in golden.run_rtl(pytestconfig.cache.mkdir("rtl"), tmp_path).items():
        assert log == golden.golden_log(name), f"{name}: make them anew with python tests/rtl/golden.py"


SMALL = {"COLUMNS": 2, "ROWS": 1, "CORE_COLUMNS": 1, "TOKENS": 8, "BANK_DEPTH": 64, "SPIKE_DEPTH": 64}
"""A mesh that Yosys has done with in seconds; its memories are not what is looked at."""
MODULES = {
    "sram": ("sram.sv",),
    "fifo": ("fifo.sv",),
    "router": ("router.sv", "fifo.sv"),
    "encoder": ("encoder.sv",),
    "row_engine": ("row_engine.sv", "sram.sv"),
    "neuron_array": ("neuron_array.sv", "sram.sv"),
    "token_unit": ("token_unit.sv", "fifo.sv", "sram.sv"),
    "dram": ("dram.sv", "fifo.sv"),
    "core": DESIGN[2:],
    "mesh": DESIGN,
} | {path.stem: (f"primitives/{path.name}",) for path in sorted((tools.HERE / "primitives").glob("*.sv"))}


@pytest.mark.parametrize("top", MODULES)
def test_modules_are_synthesizable(top: str):
    """Verilator and Icarus are silent; Yosys finds no latch, no loop, no wire with two drivers or with none.

    The long run also maps every block to gates.
    """
    need_tools()
    parameters = SMALL if top == "mesh" else {}
    assert tools.lint(top, MODULES[top], parameters) == ""
    tools.synthesize_check(top, MODULES[top], parameters, to_gates=LONG and top not in ("core", "mesh"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_meshes_are_clean(name: str):
    """As they are elaborated here."""
    need_tools()
    assert tools.lint("mesh", DESIGN, mesh_cases.SHAPES[name]) == ""


def test_every_module_is_looked_at():
    there = {path.stem for path in tools.HERE.glob("*.sv") if not path.stem.startswith("tb_")}
    assert there == {top for top in MODULES if not MODULES[top][0].startswith("primitives/")}
