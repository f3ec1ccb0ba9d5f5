"""JSON that users hand back: read as it was written, or refused in a sentence; and never a number that JSON has not."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sparsespike import UserError
from sparsespike.analysis.compare.rows import load_results
from sparsespike.analysis.diff_view import run_diff
from sparsespike.analysis.kinds import kind_of
from sparsespike.analysis.readme import fill
from sparsespike.analysis.reprice_view import show_repriced
from sparsespike.analysis.run_cache import Task, run_tasks
from sparsespike.simulator.files import read_json, write_json
from sparsespike.simulator.report_file import load_report

READERS: dict[str, Callable[[Path], Any]] = {
    "load_report": load_report,
    "load_results": load_results,
    "reprice": lambda path: show_repriced(path, ["cmos45"], None),
    "diff": lambda path: run_diff(path, path, top=3),
    "read_json": lambda path: read_json(path, "table"),
}
NONE_AT_ALL = {
    "nested too deeply": ("[" * 200_000, "nested too deeply"),
    "objects nested too deeply": ('{"a":' * 200_000, "nested too deeply"),
    "cut off": ('{"images": 4, ', "not JSON, or cut off"),
    "a number of thousands of digits": ('{"images": ' + "9" * 5000 + "}", "not JSON"),
    "a key twice": ('{"images": 4, "images": 8}', "'images' stands twice"),
}


@pytest.mark.parametrize(("text", "said"), NONE_AT_ALL.values(), ids=NONE_AT_ALL)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_is_no_json_is_refused_in_a_sentence(
    read: Callable[[Path], Any], text: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def _square(number: int) -> dict[str, int]:
    return {"square": number**2}


@pytest.mark.parametrize("text", [text for text, _ in NONE_AT_ALL.values()], ids=NONE_AT_ALL)
def test_a_kept_run_that_is_none_is_computed_again(text: str, tmp_path: Path) -> None:
    task = Task("task", 3, _square, (3,))
    run_tasks([task], tmp_path, jobs=1)
    task.file(tmp_path).write_text(text)
    assert run_tasks([task], tmp_path, jobs=1) == [{"square": 9}]


def test_a_container_s_header_that_is_nested_too_deeply_is_no_file_of_ours(tmp_path: Path) -> None:
    header, path = b"[" * 200_000, tmp_path / "deep.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match="neither a ticket"):
        kind_of(path)


def test_tables_of_a_demo_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tables.json").write_text("[" * 200_000)
    (tmp_path / "README.md").touch()
    with pytest.raises(UserError, match=r"tables\.json: not JSON: nested too deeply"):
        fill(tmp_path / "README.md", tmp_path)


def test_what_is_written_is_read_back_and_nothing_is_left_of_what_cannot_be(tmp_path: Path) -> None:
    path, data = tmp_path / "deep" / "data.json", {"a": [1, 2.5, None, "µJ"], "b": {"c": True}}
    write_json(path, data)
    assert read_json(path, "report") == data == json.loads(path.read_text("utf-8"))
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "other.json", {"energy": number})
    assert [entry.name for entry in tmp_path.iterdir()] == ["deep"]
