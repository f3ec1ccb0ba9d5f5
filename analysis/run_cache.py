"""Finished runs in a folder, a file each: an interrupted command goes on, and a repeated one computes nothing."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from ..simulator.errors import UserError
from ..simulator.files import read_json, write_json
from .parallel import Workers, finished

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """A computation and what its result depends on.

    name: beginning of its file's name, so the same whenever the task is.
    depends_on: JSON-able; equal content, equal result.
    work: module-level function of `arguments`, which worker processes import; returns a JSON-able object.
    """

    name: str
    depends_on: Any
    work: Callable[..., Result]
    arguments: tuple[Any, ...]

    @property
    def key(self) -> str:
        """SHA-256 of all that the result depends on."""
        return hashlib.sha256(json.dumps(self.depends_on, sort_keys=True).encode()).hexdigest()

    def file(self, folder: Path) -> Path:
        """Where the result is kept."""
        return folder / f"{self.name}-{self.key[:12]}.json"


def run_tasks(
    tasks: Sequence[Task],
    folder: Path | None = None,
    *,
    jobs: int = -1,
    step: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """The result of every task, in order; those that `folder` holds are read, the others computed and kept there.

    folder: None keeps nothing.  jobs: as in `parallel.Workers`.  step: called with (tasks done, tasks).
    Raises what `work` raises, UserError where a result cannot be written, KeyboardInterrupt (saying what is kept).
    """
    found = {task.key: kept for task in tasks if folder is not None and (kept := _kept(task, folder)) is not None}
    missing = list({task.key: task for task in tasks if task.key not in found}.values())
    total = len(found) + len(missing)
    report_step = step or (lambda done, total: None)
    report_step(len(found), total)
    try:
        with closing(finished(partial(_compute, folder), missing, Workers(jobs))) as results:
            for task, result in results:
                found[task.key] = result
                report_step(len(found), total)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_interrupted(len(found), total, folder)) from None
    return [found[task.key] for task in tasks]


def _interrupted(done: int, total: int, folder: Path | None) -> str:
    if folder is None:
        return f"interrupted; {done} of {total} runs were done, and nothing is kept without a folder for them"
    return f"interrupted; {done} of {total} runs are kept in {folder}, and the same command goes on from there"


def _compute(folder: Path | None, task: Task) -> tuple[Task, Result]:
    """Do it and keep it, in the worker: what is finished is there whatever becomes of the process that waits for it."""
    result = task.work(*task.arguments)
    if folder is not None:
        content = {"key": task.key, "content_sha256": _digest(result), **result}
        write_json(task.file(folder), content)
    return task, result


def _kept(task: Task, folder: Path) -> Result | None:
    """The result in its file; None where there is none, or what is there is damaged, altered or another's."""
    try:
        content = read_json(task.file(folder), "report")
    except UserError:
        return None
    if not isinstance(content, dict) or content.pop("key", None) != task.key:
        return None
    return content if content.pop("content_sha256", None) == _digest(content) else None


def _digest(result: Result) -> str:
    """SHA-256 of a result as JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(json.loads(json.dumps(result)), sort_keys=True).encode()).hexdigest()


def code_digest(*packages: str) -> str:
    """Twelve hex digits that change with any .py, .csv or .toml file of these packages, folders in them included."""
    digest = hashlib.sha256()
    for package in packages:
        for name, entry in _sources(resources.files(package), package):
            digest.update(name.encode() + entry.read_bytes())
    return digest.hexdigest()[:12]


def _sources(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry, f"{path}/{entry.name}")
        elif entry.name.endswith((".py", ".csv", ".toml")):
            yield f"{path}/{entry.name}", entry
