"""What a README shows of a swept space is taken from its result file."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SPACE
from sparsespike import UserError
from sparsespike.analysis.explore import readme, sweep
from sparsespike.analysis.parallel import Workers
from sparsespike.analysis.space import load_space
from sparsespike.simulator.trace import Trace, save_trace

WHATS = ("points", "named", "contest", "indices", "front", "ladder", "bars", "sobol", "search")
PAGE = (
    "above\n" + "".join(f"<!-- explore:{what}-mine -->\n<!-- /explore:{what}-mine -->\n" for what in WHATS) + "below\n"
)


@pytest.fixture(scope="module")
def swept_folder(trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space of two tickets, the second of which sees worse, swept."""
    folder = tmp_path_factory.mktemp("explored")
    worse = replace(trace, provenance={**trace.provenance, "ticket_integer_test_accuracy": "0.5"})
    files = {"one": trace, "two": worse}
    for name, one in files.items():
        save_trace(one, folder / f"{name}.safetensors")
    traces = [str(folder / f"{name}.safetensors") for name in files]
    (folder / "mine.toml").write_text(SPACE.replace("images = 1", f"images = 1\ntraces = {traces}"))
    sweep.run_sweep(load_space(folder / "mine.toml"), {}, folder / "r.sqlite", workers=Workers(1))
    return folder


@pytest.fixture
def folder(swept_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with these results, and a page in a room."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine.toml", "r.sqlite"):
        (tmp_path / name).write_bytes((swept_folder / name).read_bytes())
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "README.md").write_text(PAGE)
    return tmp_path


@pytest.mark.torch
def test_every_block_is_filled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme, "SAMPLES", 64)
    monkeypatch.setattr(readme, "BUDGET", 8)
    page = folder / "rooms" / "README.md"
    assert readme.fill([page], "r.sqlite", "mine.toml") == [f"{what}-mine" for what in WHATS]
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    blocks = dict(re.findall(r"<!-- explore:(\w+)-mine -->\n(.*?)<!-- /explore:\1-mine -->", text, re.DOTALL))
    # the second ticket costs the same on every chip and sees worse, so that its points are dominated
    one, two = (row for row in blocks["points"].splitlines() if row.startswith(("| one", "| two")))
    assert "| 16 | 8 | 0 |" in two
    assert "| 50.0 % |" in two
    assert re.search(r"\| 16 \| 8 \| [1-8] \|", one)
    assert one.split("|")[5:7] == two.split("|")[5:7]
    assert "16 of 32 points fit" in blocks["contest"]
    for what in readme.CAPTIONS:
        assert f"](../analysis/gallery/{what}-mine.png)" in blocks[what]
        assert (folder / "analysis" / "gallery" / f"{what}-mine.png").stat().st_size > 10_000
    readme.fill([page], "r.sqlite", "mine.toml")
    assert page.read_text() == text


@pytest.mark.torch
def test_mistakes_leave_the_pages_as_they_were(folder: Path) -> None:
    page, other = folder / "rooms" / "README.md", folder / "other.md"
    other.write_text("<!-- explore:fornt-mine -->\n<!-- /explore:fornt-mine -->\n")
    with pytest.raises(UserError, match="no table or figure 'fornt-mine'; did you mean 'front-mine'"):
        readme.fill([page, other], "r.sqlite", "mine.toml")
    other.write_text("nothing\n")
    with pytest.raises(UserError, match=r"other.md: has no block <!-- explore:WHAT-mine -->"):
        readme.fill([page, other], "r.sqlite", "mine.toml")
    with pytest.raises(UserError, match=r"absent.md: cannot be read"):
        readme.fill([page, "absent.md"], "r.sqlite", "mine.toml")
    with pytest.raises(UserError, match=r"none.sqlite"):
        readme.fill([page], "none.sqlite", "mine.toml")
    assert page.read_text() == PAGE
    assert not (folder / "analysis").exists()
