"""Runs that are kept: an interrupt loses nothing, and a file that is another's or was altered is not believed."""

import json
from pathlib import Path

import pytest
from sparsespike.analysis.run_cache import Task, code_digest, run_tasks


def _square(number: int, stop: int) -> dict[str, int]:
    if number == stop:
        raise KeyboardInterrupt
    return {"square": number**2}


def test_an_interrupt_loses_nothing_that_is_done(tmp_path: Path) -> None:
    def tasks(stop: int) -> list[Task]:
        return [Task(f"task{number}", number, _square, (number, stop)) for number in range(3)]

    with pytest.raises(KeyboardInterrupt, match=f"2 of 3 runs are kept in {tmp_path}, and the same command goes on"):
        run_tasks(tasks(2), tmp_path, jobs=1)
    assert len(list(tmp_path.iterdir())) == 2
    steps: list[tuple[int, int]] = []
    found = run_tasks(tasks(1), tmp_path, jobs=1, step=lambda *step: steps.append(step))  # 1 would stop, but is known
    assert [result["square"] for result in found] == [0, 1, 4]
    assert steps == [(2, 3), (3, 3)]
    with pytest.raises(KeyboardInterrupt, match="nothing is kept"):
        run_tasks(tasks(0))


def test_a_kept_file_of_another_key_is_not_believed(tmp_path: Path) -> None:
    task = Task("task", 3, _square, (3, 0))
    task.file(tmp_path).write_text(json.dumps({"key": "0" * 64, "square": 10}))
    assert run_tasks([task], tmp_path)[0]["square"] == 9


@pytest.mark.parametrize("old_new", [('"square": 9', '"square": 10'), ('"square"', '"cube"'), ("{", '{"more": 1, ')])
def test_a_kept_file_that_was_altered_is_computed_again(old_new: tuple[str, str], tmp_path: Path) -> None:
    task = Task("task", 3, _square, (3, 0))
    assert run_tasks([task], tmp_path) == run_tasks([task], tmp_path) == [{"square": 9}]
    path = task.file(tmp_path)
    whole = path.read_text()
    path.write_text(whole.replace(*old_new, 1))
    assert path.read_text() != whole
    assert run_tasks([task], tmp_path) == [{"square": 9}]
    assert path.read_text() == whole


def test_the_codes_digest_covers_folders_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "somepackage" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "somepackage" / "__init__.py").touch()
    (inner / "code.py").write_text("1")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_digest("somepackage")
    (inner / "notes.txt").write_text("1")
    assert code_digest("somepackage") == before
    (inner / "code.py").write_text("2")
    assert code_digest("somepackage") != before
