"""What a page says can be run: its commands and scripts, and what they print."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROMPT, SKIP = "$ ", "..."
CLIENTS = re.compile(r"^from (spikingjelly|snntorch)", re.MULTILINE)
BLOCK = re.compile(r"^```(?P<kind>console|python)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A command or a script of the README, and the lines that it is said to print."""

    arguments: tuple[str, ...]
    printed: tuple[str, ...] = ()


def steps(text: str) -> list[Step]:
    """Everything that can be run: `$ sparsespike …` lines of console blocks with their output, and python blocks.

    Other commands (make, pip, git) change the machine and are left to the reader.
    """
    found = []
    for block in BLOCK.finditer(text):
        if block["kind"] == "python":
            if CLIENTS.search(block["body"]):
                continue  # run where that library is installed: tests/clients
            found.append(Step((sys.executable, "-c", block["body"])))
            continue
        for part in re.split(r"^(?=\$ )", block["body"].replace("\\\n", ""), flags=re.MULTILINE):
            command, _, printed = part.partition("\n")
            if command.startswith(f"{PROMPT}sparsespike "):
                words = shlex.split(command.removeprefix(PROMPT), comments=True)
                found.append(Step((sys.executable, "-m", "sparsespike.cli", *words[1:]), tuple(printed.splitlines())))
    return found


def missing(expected: tuple[str, ...], printed: str) -> list[str]:
    """Expected lines that were not printed; white space at the ends and lines of dots do not count."""
    lines = {line.strip() for line in printed.splitlines()}
    return [line for line in expected if line.strip() and line.strip() != SKIP and line.strip() not in lines]


def run_page(page: Path, folder: Path) -> int:
    """Run everything on a page, in order, in one folder; assert that it succeeds and prints what the page says.

    Returns how many steps there were.
    """
    found = steps(page.read_text("utf-8"))
    for step in found:
        done = subprocess.run(step.arguments, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (step.arguments, done.stderr)
        assert missing(step.printed, done.stdout) == [], step.arguments
    return len(found)
