"""The README is true: its commands run in an empty folder and print what it says; its figures are generated."""

import re
from pathlib import Path

import pytest
from page_steps import missing, run_page, steps
from sparsespike.analysis.compare import figures as compare_figures
from sparsespike.analysis.compare import readme as compare_readme
from sparsespike.analysis.compare.rows import load_results
from sparsespike.analysis.explore import readme as explore_readme
from sparsespike.analysis.gallery import CAPTIONS
from sparsespike.analysis.readme import GALLERY, block_names

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
TICKETS = ROOT / "model" / "tickets"


def test_steps_are_found_in_order() -> None:
    commands = "$ make\n$ sparsespike hardware \\\n edge  # one\nname = 1\n...\n$ sparsespike x\n"
    text = f"```console\n{commands}```\n```python\n1\n```\n"
    first, second, third = steps(text)
    assert first.arguments[3:] == ("hardware", "edge")
    assert first.printed == ("name = 1", "...")
    assert second.arguments[3:] == ("x",)
    assert third.arguments[1:] == ("-c", "1\n")


def test_what_is_not_printed_is_missed() -> None:
    assert missing(("  a b", "...", "", "c"), "a b\nd\n") == ["c"]


@pytest.mark.parametrize("data", ["fashion-mnist", "cifar10"])
def test_what_is_said_of_larger_images_stands_in_the_results(data: str) -> None:
    rows = [row for row in load_results(TICKETS / f"results-{data}.json").rows if row.ticket.neuron == "lif"]
    dense, sparse = sorted(rows, key=lambda row: -row.ticket.keep)
    before, after = (100 * (row.ticket.accuracy_integer or 0) for row in (dense, sparse))
    said = " ".join(README.read_text("utf-8").split())
    energies = f"from {dense.energy_pj / 1e6:.3g} to {sparse.energy_pj / 1e6:.3g} µJ"
    assert f"from {before:.1f} to {after:.1f} % and {energies}" in said
    assert "With 90.50 % of the weights pruned" in said
    assert {dense.ticket.keep, sparse.ticket.keep} == {1.0, 0.7}
    page = (TICKETS / "README.md").read_text("utf-8")
    assert f"{before:.2f} %" in page


@pytest.mark.slow
def test_the_readme_runs(tmp_path: Path) -> None:
    assert run_page(README, tmp_path) >= 20


def test_figures_come_from_the_demo() -> None:
    text = README.read_text("utf-8")
    blocks = re.findall(r"<!-- figures:([\w-]+) -->\n(.*?)<!-- /figures:\1 -->", text, re.DOTALL)
    for kind in (compare_readme.KIND, explore_readme.KIND):
        blocks += re.findall(rf"<!-- {kind}:([\w-]+) -->\n(.*?)<!-- /{kind}:\1 -->", text, re.DOTALL)
    measured = re.search(r"<!-- bench:performance -->\n(.*?)<!-- /bench:performance -->", text, re.DOTALL)
    assert blocks
    assert all(content.strip() for _, content in blocks)
    assert measured is not None
    assert measured[1].count("\n") >= 8
    # any other picture was made by none of `make figures`, `make tickets-table` and `make codesign`
    inside = "".join(content for _, content in blocks)
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert picture in inside
        assert (ROOT / picture).parent == ROOT / GALLERY
        assert (ROOT / picture).is_file()
        what = Path(picture).stem.partition("-")[0]  # of tickets WHAT-DATA, of spaces WHAT-SPACE
        assert what in CAPTIONS or what in compare_figures.CAPTIONS or what in explore_readme.CAPTIONS


@pytest.mark.parametrize("page", [README, ROOT / "model" / "tickets" / "README.md"], ids=lambda page: page.parent.name)
def test_blocks_about_tickets_hold_what_was_measured(page: Path) -> None:
    """Filling them anew from the shipped results changes nothing but pictures, which are not compared here."""
    text = page.read_text("utf-8")
    results = [load_results(path) for path in sorted((ROOT / "model" / "tickets").glob("results-*.json"))]
    tables = {f"{what}-{found.data}": make(found) for found in results for what, make in compare_readme.TABLES.items()}
    blocks = dict(re.findall(r"<!-- tickets:(\S+) -->\n(.*?)\n<!-- /tickets:", text, re.DOTALL))
    assert blocks
    assert set(blocks) == set(block_names(text, "tickets"))
    for name, held in blocks.items():
        assert (
            held == tables[name].to_markdown().rstrip()
            if name in tables
            else re.fullmatch(r"!\[.+\]\(\S+\.png\)", held)
        ), name
