"""What the pages of the rooms say can be run, runs; a file of its own, to run beside the README's."""

from pathlib import Path

import pytest
from page_steps import run_page

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("room", ["simulator", "analysis"])
def test_the_page_of_a_room_runs(room: str, tmp_path: Path) -> None:
    assert run_page(ROOT / room / "README.md", tmp_path) >= 3
