"""Measure rows of the bench: python -m bench [ROW …] [--rounds N] [--out DIR]; `make bench` measures them all.

Example: python -m bench spikformer_vs_bare_loop --rounds 3
"""

import argparse
import os
import sys
from pathlib import Path

# one thread, also in the libraries below numpy and in processes started from here; they read this when they are loaded
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"


def main() -> None:
    """Parse, measure, show; exit code 2 for a row that does not exist."""
    from sparsespike.simulator.errors import UserError

    from .clock import ROUNDS
    from .report import measure

    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition(":")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to measure; all where none is named")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"interleaved rounds (default {ROUNDS})")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="folder (default out)")
    asked = parser.parse_args()
    try:
        measure(asked.rows, max(1, asked.rounds), asked.out)
    except UserError as mistake:
        sys.stderr.write(f"error: {mistake}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
