"""A handful of small programs and the logs that the RTL wrote of them: the kernels are held against it without a tool.

`python tests/rtl/golden.py` runs the RTL and writes the logs anew.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # run as a script, it does not find the tests' folder
    sys.path[0] = str(Path(__file__).parents[1])

from rtl import tools
from rtl.mesh_cases import SHAPES, chip_of
from rtl.mesh_program import FILES, Case, write_program
from sparsespike.simulator.builder import Builder, Style

FOLDER = Path(__file__).parent / "golden"
SHAPE = SHAPES["2x2"]


class Recipe(NamedTuple):
    """A golden program: changes of the chip, and what its trace is like; keep: tokens behind a selector, 0 for none."""

    seed: int
    chip: Mapping[str, Any]
    widths: tuple[int, ...] = (10, 12)
    tokens: int = 2
    keep: int = 0
    largest: int = 1
    residual: bool = False


PROGRAMS = {
    "dense": Recipe(1, {"core__weight_format": "dense"}),
    "bitmap": Recipe(2, {"core__weight_format": "bitmap", "core__order": "time_inner"}),
    "csr": Recipe(3, {"core__weight_format": "csr", "core__index_bits": 1}, widths=(6, 40)),
    "skip": Recipe(4, {"token_unit__scan_width": 2}, tokens=7, keep=2),
    "residual": Recipe(5, {"mesh__value_bits": 1}, widths=(6, 6), largest=3, residual=True),
    "two-layers": Recipe(6, {"core__contexts": 3}, widths=(5, 8, 5), tokens=1, residual=True),
    "depth-one": Recipe(7, {"mesh__buffer_flits": 1, "mesh__link_bits": 8, "core__fifo_flits": 1, "core__contexts": 1}),
}


def golden_case(name: str) -> Case:
    """The trace and the chip of a golden program."""
    recipe = PROGRAMS[name]
    builder = Builder(Style(timesteps=2, weight_density=0.5, seed=recipe.seed))
    shape = (1, 2, recipe.tokens, recipe.widths[0])
    dense = builder.rng.integers(1, recipe.largest + 1, shape) * (builder.rng.random(shape) < 0.3)
    stream = first = builder.spikes("given", dense, 1, recipe.tokens)
    if recipe.keep:
        builder.select("select", stream, recipe.keep, "random")
    for number, width in enumerate(recipe.widths[1:]):
        added = recipe.residual and width == recipe.widths[0]
        stream = builder.linear(f"linear{number}", stream, width, first if added else "")
    return Case(builder.trace(), chip_of(SHAPE, **recipe.chip))


def golden_log(name: str) -> list[str]:
    """What the RTL wrote."""
    return (FOLDER / f"{name}.log").read_text().splitlines()


def run_rtl(builds: Path, work: Path) -> dict[str, list[str]]:
    """The logs as the RTL writes them now."""
    binary = tools.build("tb_mesh", FILES, builds, SHAPE)
    programs = tools.write_programs(work, (write_program(golden_case(name), SHAPE) for name in PROGRAMS))
    return dict(zip(PROGRAMS, tools.run(binary, work, programs), strict=True))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for program, log in run_rtl(Path(scratch, "build"), Path(scratch, "programs")).items():
            (FOLDER / f"{program}.log").write_text("".join(f"{line}\n" for line in log))
