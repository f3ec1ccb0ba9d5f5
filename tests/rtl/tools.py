"""Verilator, Icarus Verilog and Yosys as the tests use them: lint, synthesis check, build, run."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = {"verilator": "verilator", "icarus": "iverilog", "yosys": "yosys"}
INSTALL = "apt-get install verilator iverilog yosys g++ make"
QUICK = "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"
"""A third off the C++ compiler's time; the logs come as fast as with its default, -Os."""

Program = Mapping[str, Iterable[int]]
"""What a program's folder holds: `NAME.hex` for each name, one word a line."""


def missing(*tools: str) -> str:
    """What to install for these tools (none named: for all of them), or nothing where they are all here."""
    absent = [COMMANDS[tool] for tool in tools or COMMANDS if not shutil.which(COMMANDS[tool])]
    return f"{', '.join(absent)} not found; on Debian or Ubuntu: {INSTALL}" if absent else ""


def sources(names: Iterable[str]) -> list[str]:
    return [str(HERE / name) for name in names]


def call(command: Sequence[str], folder: Path | None = None) -> str:
    """What the command says on both channels; an error with all of it where it fails."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


def lint(top: str, files: Iterable[str], parameters: Mapping[str, int] | None = None) -> str:
    """The warnings of Verilator and of Icarus about a design; empty where it is clean."""
    chosen = (parameters or {}).items()
    verilator = [f"-G{name}={value}" for name, value in chosen]
    icarus = [f"-P{top}.{name}={value}" for name, value in chosen]
    said = call(["verilator", "--lint-only", "-Wall", *verilator, "--top-module", top, *sources(files)])
    return said + call(["iverilog", "-g2012", "-Wall", "-o", os.devnull, "-s", top, *icarus, *sources(files)])


def synthesize_check(
    top: str, files: Iterable[str], parameters: Mapping[str, int] | None = None, to_gates: bool = False
) -> None:
    """Yosys reads the design and finds neither a latch, nor a loop, nor a wire with two drivers or with none.

    to_gates: it also maps everything to gates, which takes a block up to half a minute.
    """
    chosen = "".join(f" -chparam {name} {value}" for name, value in (parameters or {}).items())
    steps = "synth -flatten -noabc" if to_gates else "proc; flatten; opt"
    script = f"read_verilog -sv {' '.join(sources(files))}; hierarchy -check -top {top}{chosen}; {steps}"
    call(["yosys", "-q", "-p", f"{script}; select -assert-none t:$dlatch t:$_DLATCH_*_; check -assert"])


def build(
    top: str, files: Iterable[str], folder: Path, parameters: Mapping[str, int] | None = None, tool: str = "verilator"
) -> Path:
    """The testbench as a program, made at most once for the same texts, parameters and tool.

    It is put in place by a rename, so that tests that run side by side may share the folder.
    """
    chosen, texts = sorted((parameters or {}).items()), sources(files)
    version = call([COMMANDS[tool], "-V" if tool == "icarus" else "--version"]).splitlines()[0]
    key = hashlib.sha256(repr((version, top, chosen)).encode())
    for text in texts:
        key.update(Path(text).read_bytes())
    binary = folder / f"{top}-{tool}-{key.hexdigest()[:16]}"
    if binary.exists():
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        if tool == "icarus":
            given = [f"-P{top}.{name}={value}" for name, value in chosen]
            call(["iverilog", "-g2012", "-o", f"{work}/{top}", "-s", top, *given, *texts])
        else:
            given = [f"-G{name}={value}" for name, value in chosen]
            options = ["--binary", "--timing", "-O3", "-j", "2", "-MAKEFLAGS", QUICK, "--Mdir", work, "-o", top]
            call(["verilator", *options, "--top-module", top, *given, *texts])
        Path(work, top).replace(binary)
    return binary


def write_programs(folder: Path, programs: Iterable[Program]) -> int:
    """Folders p0000, p0001, … with the memory images of the programs; how many there are."""
    number = 0
    for number, program in enumerate(programs, 1):
        home = folder / f"p{number - 1:04d}"
        home.mkdir(parents=True, exist_ok=True)
        for name, words in program.items():
            (home / f"{name}.hex").write_text("".join(f"{word:x}\n" for word in words))
    return number


def in_order(lines: Iterable[str]) -> list[str]:
    """Log lines by cycle, unit, event and value, so that the first that differs is the first in time."""

    def place(line: str) -> tuple[int, int, str, str]:
        cycle, unit, event, value = line.split()
        return int(cycle), int(unit), event, value

    return sorted(lines, key=place)


def first_differences(demanded: Iterable[str], found: Iterable[str], shown: int = 20) -> str:
    """What only one of two logs has, the first in time, one line each: who has it, then cycle, unit, event, value."""
    here, there = Counter(demanded), Counter(found)
    lines = {f"{line}{mark}" for only, mark in ((here - there, " kernels"), (there - here, " RTL")) for line in only}
    told = sorted(lines, key=lambda line: (int(line.split()[0]), line))[:shown]
    return "\n".join(("cycle unit event value side", *told)) if told else ""


def run(binary: Path, folder: Path, programs: int, plusargs: Iterable[str] = ()) -> list[list[str]]:
    """The log of each of the programs that lie in the folder, in order."""
    simulator = ["vvp", "-N"] if "-icarus-" in binary.name else []
    arguments = [f"+folder={folder}", f"+programs={programs}", *(f"+{argument}" for argument in plusargs)]
    logs: list[list[str]] = []
    for line in call([*simulator, str(binary), *arguments]).splitlines():
        if line.startswith("program "):
            logs.append([])
        elif line[:1].isdigit():
            logs[-1].append(line)
    if len(logs) != programs:
        raise RuntimeError(f"{binary.name} ran {len(logs)} of {programs} programs in {folder}")
    return [in_order(log) for log in logs]
