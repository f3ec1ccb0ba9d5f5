"""Fill the README's marked blocks from a demo's folder, so that no figure or number in it is typed.

A block is `<!-- figures:NAME -->` … `<!-- /figures:NAME -->`, NAME a table or a figure of the demo.
    python -m sparsespike.analysis.readme out/demo README.md
"""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from ..simulator.errors import UserError, nearest
from ..simulator.files import read_json, write_text, write_whole
from .gallery import CAPTIONS, TABLES_FILE
from .tables import Table

GALLERY = Path("analysis") / "gallery"
KIND = "figures"


def fill(readme: str | Path, demo: str | Path) -> list[str]:
    """Rewrite every marked block of `readme`; the pictures in use are copied to analysis/gallery beside it.

    Returns the names of the blocks. Raises UserError where a block has no table or figure of its name.
    """
    readme, demo = Path(readme), Path(demo)
    try:
        text = readme.read_text("utf-8")
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    tables = {name: Table.from_json(data) for name, data in read_json(demo / TABLES_FILE, "table").items()}
    names = block_names(text, KIND)
    for name in names:
        if name not in tables and name not in CAPTIONS:
            raise UserError(f"{readme}: no table or figure {name!r}; {nearest(name, [*tables, *CAPTIONS])}")
        if name not in tables:
            _copy(demo / "figures" / f"{name}.png", readme.parent / GALLERY)

    def content(name: str) -> str:
        return tables[name].to_markdown() if name in tables else _image(name)

    write_text(readme, fill_blocks(text, KIND, content))
    return names


def block_names(text: str, kind: str) -> list[str]:
    """Names of the blocks `<!-- kind:NAME -->` … `<!-- /kind:NAME -->` in a Markdown text, in order."""
    return [found["name"] for found in _pattern(kind).finditer(text)]


def fill_blocks(text: str, kind: str, content: Callable[[str], str]) -> str:
    """The text with `content(name)` in every block of that kind; the rest of it as it was."""

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!-- {kind}:{name} -->\n{content(name)}\n<!-- /{kind}:{name} -->"

    return _pattern(kind).sub(block, text)


def _pattern(kind: str) -> re.Pattern[str]:
    return re.compile(rf"<!-- {kind}:(?P<name>[\w-]+) -->\n.*?<!-- /{kind}:(?P=name) -->", re.DOTALL)


def _copy(source: Path, folder: Path) -> None:
    def write(path: Path) -> None:
        shutil.copyfile(source, path)

    write_whole(folder / source.name, write)


def _image(name: str) -> str:
    return f"![{CAPTIONS[name]}]({GALLERY.as_posix()}/{name}.png)"


if __name__ == "__main__":
    try:
        sys.stdout.write("filled: " + ", ".join(fill(sys.argv[2], sys.argv[1])) + "\n")
    except UserError as mistake:
        sys.exit(f"error: {mistake}")
