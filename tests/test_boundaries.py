"""The house rules that a reader relies on: who imports whom, where compiled code lives, how long a file may be."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import sparsespike

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("simulator", "model", "analysis")
STDLIB = sys.stdlib_module_names

# room -> the libraries that its modules may import; "room:file" narrows or widens it for one file or folder
LIBRARIES = {
    "simulator": {"numpy", "numba", "pydantic", "safetensors"},
    "simulator/kernels": {"numpy", "numba"},
    "model": {"torch", "numpy", "sklearn", "rich", "safetensors"},
    "analysis": {"numpy", "scipy", "joblib", "matplotlib"},
    "analysis/console.py": {"rich"},
    "analysis/shell.py": {"typer"},
    "analysis/cluster.py": {"distributed"},
    "analysis/explore/views/page/__init__.py": {"plotly"},
    "analysis/explore/search/genetic.py": {"optuna"},
}
# room -> the parts of the package that its modules may import
PARTS = {
    "simulator": {"simulator"},
    "simulator/kernels": {"simulator/kernels"},
    "model": {
        "model",
        "simulator/trace",
        "simulator/errors",
        "simulator/files",
    },
    "analysis": {"analysis", "simulator"},
}
LONGEST_FILE, LONGEST_FUNCTION, MOST_ARGUMENTS = 400, 60, 8


def sources() -> list[Path]:
    rooms = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    return sorted([*ROOT.glob("*.py"), *rooms, *(ROOT / "tests").rglob("*.py"), *(ROOT / "hwconfigs").rglob("*.py")])


SOURCES = sources()
NAMES = [path.relative_to(ROOT).as_posix() for path in SOURCES]
every_source = pytest.mark.parametrize("path", SOURCES, ids=NAMES)


def imports(path: Path) -> list[tuple[int, str, bool]]:
    """(line, what, ours): `numpy.typing` -> "numpy", False; `..simulator.trace` -> "simulator/trace", True."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [_absolute(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = node.module or ""
            if module.partition(".")[2] or module != "sparsespike":
                found.append(_absolute(node.lineno, module))
            else:
                found += [_absolute(node.lineno, f"sparsespike.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1].relative_to(ROOT)
            if node.module:
                found.append((node.lineno, (base / node.module.replace(".", "/")).as_posix(), True))
            else:
                found += [(node.lineno, (base / alias.name).as_posix(), True) for alias in node.names]
    return found


def _absolute(line: int, module: str) -> tuple[int, str, bool]:
    top, _, rest = module.partition(".")
    return (line, rest.replace(".", "/"), True) if top == "sparsespike" else (line, top, False)


def ruled(path: Path, rules: dict[str, set[str]]) -> set[str]:
    """The rule of the innermost folder, with what is allowed to the very file on top."""
    name = path.relative_to(ROOT).as_posix()
    folders = [parent.as_posix() for parent in path.relative_to(ROOT).parents]
    room = next(folder for folder in folders if folder in rules)
    return rules[room] | rules.get(name, set())


@pytest.mark.parametrize("path", [p for p in SOURCES if p.relative_to(ROOT).parts[0] in ROOMS], ids=lambda p: p.stem)
def test_imports_follow_the_rules(path: Path) -> None:
    wrong = []
    for line, what, inside in imports(path):
        if inside:
            allowed = ruled(path, PARTS)
            fine = what == "__version__" or any(what == part or what.startswith(f"{part}/") for part in allowed)
        else:
            fine = what in STDLIB or what in ruled(path, LIBRARIES)
        if not fine:
            wrong.append(f"line {line}: {what}")
    assert not wrong


def test_the_rules_see_a_forbidden_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself can fail: each spelling of an import is resolved."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "simulator" / "kernels" / "bad.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import torch.nn\nfrom ..trace import Trace\nfrom ... import model\nfrom sparsespike.analysis.page import x\n"
    )
    assert imports(path) == [
        (1, "torch", False),
        (2, "simulator/trace", True),
        (3, "model", True),
        (4, "analysis/page", True),
    ]
    assert ruled(path, LIBRARIES) == {"numpy", "numba"}


@every_source
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= LONGEST_FILE
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > LONGEST_FUNCTION]
    wide = [f.name for f in functions if len(f.args.args) + len(f.args.kwonlyargs) > MOST_ARGUMENTS]
    assert (long, wide) == ([], [])


@every_source
def test_dangerous_calls_stand_where_they_are_guarded(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)}
    assert not calls & {"eval", "exec"}
    assert "torch.load" not in calls or name == "model/checkpoint.py"
    used = {what for _, what, inside in imports(path) if not inside}
    assert not used & {"pickle", "dill", "marshal", "shelve"} or name.startswith("tests/")
    assert "pickletools" not in used or name == "model/foreign/unpickler.py" or name.startswith("tests/")


@every_source
def test_compiled_code_lives_in_kernels(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    if not name.startswith(("simulator/kernels/", "tests/")):
        assert "numba" not in {what for _, what, inside in imports(path) if not inside}


@pytest.mark.parametrize("path", [p for p in SOURCES if p.relative_to(ROOT).parts[0] != "tests"], ids=lambda p: p.stem)
def test_public_names_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    bare = [n.name for n in tree.body if isinstance(n, kinds) and n.name[0] != "_" and not ast.get_docstring(n)]
    assert not bare
    assert ast.get_docstring(tree) or not tree.body


def test_configured_paths_and_packages_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert all((ROOT / path).is_dir() for path in project["tool"]["pytest"]["ini_options"]["testpaths"])
    for package in project["tool"]["setuptools"]["packages"]:
        assert (ROOT / Path(*package.split(".")[1:])).is_dir(), package
    # a folder that holds modules but is not listed would be missing from an installed package
    listed = {Path(*package.split(".")[1:]) for package in project["tool"]["setuptools"]["packages"]}
    used = {path.parent.relative_to(ROOT) for path in SOURCES if path.relative_to(ROOT).parts[0] != "tests"}
    assert used <= listed


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["version"] == sparsespike.__version__


def test_the_simulator_loads_no_heavy_library() -> None:
    modules = [
        "sparsespike." + name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for name in NAMES
        if name.startswith("simulator/")
    ]
    code = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print(sorted({'torch', 'matplotlib', 'pandas', 'sklearn', 'joblib', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_loads_nothing() -> None:
    code = (
        "import sys, sparsespike\n"
        "print('numpy' in sys.modules, callable(sparsespike.load_trace), 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


def test_public_names_are_all_there() -> None:
    assert set(sparsespike.__all__) <= set(dir(sparsespike))
    for name in sparsespike.__all__:
        assert getattr(sparsespike, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sparsespike.nonsense  # noqa: B018
