"""How a command line starts and ends: options by the table, settings of a chip, Ctrl-C, mistakes and exit codes."""

import inspect
import os
import signal
import sys
import tomllib
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..simulator.errors import UserError


class _StopError(Exception):
    """Ctrl-C, with what it left behind in words; the command-line library swallows a KeyboardInterrupt's text."""


class Commands(TyperGroup):
    """Commands that keep what an interrupted one says it left behind."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise _StopError(str(stop) or "interrupted; what was finished is kept, nothing is half-written") from None


# The options of commands that have many of them, in the order of their help: what each is, and its default.
Options = Mapping[str, tuple[Any, Any]]
REQUIRED = inspect.Parameter.empty


def flag(name: str, text: str) -> Any:
    """An option that is there or not."""
    return Annotated[bool, typer.Option(name, help=text)]


def command(app: typer.Typer, name: str, options: Options) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a function the command of that name, called with `options` by name."""

    def register(run: Callable[..., None]) -> Callable[..., None]:
        kind = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(key, kind, annotation=what, default=value) for key, (what, value) in options.items()]
        )
        return app.command(name)(run)

    return register


def parse_settings(settings: list[str], option: str = "--set") -> dict[str, Any]:
    """["core.lanes=32", "core.weight_format=csr"] -> {"core.lanes": 32, "core.weight_format": "csr"}.

    Values are TOML; a word that is no TOML value is taken as text. Raises UserError for a setting without "=".
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = (part.strip() for part in setting.partition("="))
        if not (key and equals and text):
            raise UserError(f"{option} {setting}: must be KEY=VALUE, e.g. {option} core.lanes=32")
        try:
            values[key] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # also what nests too deeply, or has thousands of digits
            values[key] = text
    return values


def run_commands(app: typer.Typer, program: str) -> None:
    """End the process: 0 on success, 2 and a line for what the user can put right, 130 on Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, _interrupt)  # so that worker processes are ended and what is finished is kept
    try:
        sys.exit(app(prog_name=program, standalone_mode=False) or 0)
    except UserError as error:
        _fail(str(error), 2)
    except (_StopError, KeyboardInterrupt) as error:
        _fail(str(error) or "interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: not a mistake
        sys.exit(0)
    except Exception as error:
        # typer's own complaints about the command line; their class is not part of its interface
        if not hasattr(error, "format_message"):
            raise
        path = getattr(getattr(error, "ctx", None), "command_path", program)
        _fail(f"{error.format_message()} (see {path} --help)", getattr(error, "exit_code", 2))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> None:
    line = " ".join(message.split())
    typer.echo(f"error: {line}" if code == 2 else line, err=True)
    sys.exit(code)
