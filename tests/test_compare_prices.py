"""What a comparison is priced with, and what it says of its prices."""

from pathlib import Path

import pytest
from sparsespike import load_chip, simulate
from sparsespike.analysis.compare.request import CompareRequest
from sparsespike.analysis.compare.table import full_table
from sparsespike.model.export import trace_dataset
from sparsespike.model.tickets import shipped
from sparsespike.recipes import compare

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("hardware", "energy", "table"),
    [("loas-like", None, "cmos32"), ("edge", None, "cmos45"), ("edge", "formula45", "formula45")],
)
def test_runs_are_priced_with_the_table_of_the_chip_s_node_or_the_one_that_is_named(
    hardware: str, energy: str | None, table: str, tmp_path: Path
) -> None:
    found = compare(CompareRequest(["digits"], images=1, hardware=hardware, energy=energy, out=tmp_path, jobs=1))
    assert found.energy_table == table
    report = simulate(trace_dataset(shipped("digits"), "digits", 1), load_chip(hardware), table)
    assert found.rows[0].energy_pj == report.energy_pj["total"]
    note, share = full_table(found).note, report.energy_pj["assumed_share"]
    assert f"table {table};" in note
    assert found.rows[0].assumed_share == share
    assert (f"Of the energy {100 * share:.1f} % rests on assumed prices." in note) == (share > 0.1)
    assert ("assumed" in note) == (share > 0.1) == ((hardware, table) == ("edge", "cmos45"))
    assert found.command.endswith(f"--hardware {hardware}" + ("" if energy is None else f" --energy {energy}"))
