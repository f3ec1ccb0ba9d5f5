"""Design spaces: axes, ranges, constraints, samples, and files that are refused with every fault at once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sparsespike import UserError
from sparsespike.analysis.space import Space, grid, listed, load_space, sobol, space_names
from sparsespike.analysis.space.axes import axis_values
from sparsespike.analysis.space.constraints import parse_constraint

HEAD = 'chip = "edge"\nimages = 1\ntraces = ["digits"]\n'


def written(folder: Path, text: str) -> Space:
    path = folder / "space.toml"
    path.write_text(HEAD + text)
    return load_space(path)


def test_a_space_is_the_whole_grid(space_file: Path) -> None:
    found = replace(load_space(space_file), traces=("digits",))
    values = list(grid(found))
    assert len(values) == found.size == 4 * 2 * 2
    assert [entry["core.weight_format"] for entry in values[:3]] == ["bitmap", "csr", "bitmap"]  # the last axis fastest
    chips = [candidate.chip for candidate in map(found.candidate, values)]
    assert {chip.core.lanes for chip in chips if chip is not None} == {1, 2, 4, 8}


def test_the_order_of_a_seed_holds_the_same_points() -> None:
    found = load_space("cores")
    one, other = (list(grid(found, seed)) for seed in (0, 1))
    assert one != other
    assert sorted(map(str, one)) == sorted(map(str, other)) == sorted(map(str, grid(found)))


@pytest.mark.parametrize("name", space_names())
def test_shipped_spaces_are_possible(name: str) -> None:
    found = load_space(name)
    chips = [found.candidate(values).chip for values in grid(replace(found, traces=found.traces[:1]))]
    assert all(chip is not None for chip in chips)
    assert len(chips) * len(found.traces) == sum(1 for _ in grid(found))


def test_codesign_has_more_than_ten_thousand_points() -> None:
    assert sum(1 for _ in grid(load_space("codesign"))) > 10_000


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([2, "a", 0.5], (2, "a", 0.5)),
        ({"from": 2, "to": 9, "step": 3}, (2, 5, 8)),
        ({"from": 2, "to": 16, "times": 2}, (2, 4, 8, 16)),
        ({"from": 0.25, "to": 1.0, "step": 0.25}, (0.25, 0.5, 0.75, 1.0)),
        ({"from": 3, "to": 3, "step": 1}, (3,)),
    ],
)
def test_values_and_ranges(value: object, found: tuple[object, ...]) -> None:
    assert axis_values(value) == found
    assert [type(entry) for entry in axis_values(value)] == [type(entry) for entry in found]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "no value"),
        (3, "list of values"),
        ([1, 1], "twice"),
        ([[1]], "numbers or words"),
        ({"from": 1, "to": 2}, "either step or times"),
        ({"from": 1, "to": 2, "step": 1, "times": 2}, "either step or times"),
        ({"from": 1, "to": 2, "step": 0}, "no value"),
        ({"from": 1, "to": 2, "times": 1}, "no value"),
        ({"from": 0, "to": 2, "times": 2}, "no value"),
        ({"from": 3, "to": 2, "step": 1}, "no value"),
        ({"from": 1, "to": "b", "step": 1}, "numbers"),
        ({"from": 1, "to": 1e9, "step": 1}, "more than 10,000"),
        ({"from": 1, "to": 2, "by": 1}, "by: unknown"),
    ],
)
def test_an_axis_that_is_none_says_why(value: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        axis_values(value)


VALUES = {"core.lanes": 8, "core.weight_banks": 4, "core.weight_format": "csr", "mesh.rows": 2}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("core.lanes <= 2 * core.weight_banks", True),
        ("core.lanes < 2 * core.weight_banks", False),
        ("1 < mesh.rows < 3", True),
        ("1 < mesh.rows < 2", False),
        ("core.lanes // 3 == 2 and core.lanes % 3 == 2 and core.lanes / 16 == 0.5", True),
        ("core.lanes - 9 == -1", True),
        ("not core.lanes == 8 or mesh.rows + 1 == 3", True),
        ("core.weight_format in ['csr', 'bitmap']", True),
        ("core.weight_format not in ['csr', 'bitmap']", False),
        ("core.weight_format != 'dense'", True),
    ],
)
def test_a_constraint_holds_or_not(text: str, holds: bool) -> None:
    assert parse_constraint(text, list(VALUES)).holds(VALUES) is holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("core.lane <= 2", "core.lane: unknown key.*core.lanes"),
        ("core.lanes", "compares no key"),
        ("1 < 2", "compares no key"),
        ("core.lanes <", "cannot be read"),
        ("__import__('os').system('true') == core.lanes", "is not understood"),
        ("core.lanes ** 9 > 1", "is not understood"),
        ("[x for x in [1]] == core.lanes", "is not understood"),
        ("core.lanes.__class__ == 1", "core.lanes.__class__: unknown key"),
        ("(lambda: 1)() == core.lanes", "is not understood"),
        ("core.lanes == " + "(" * 300 + "1" + ")" * 300, "longer than"),
        ("core.lanes == " + "-" * 380 + "1", "cannot be read|is not understood|unknown|longer"),
    ],
)
def test_a_constraint_that_is_none_is_refused(text: str, said: str) -> None:
    if "-" * 380 in text:  # deep, and yet a constraint: it is computed, not run
        assert parse_constraint(text, list(VALUES)).holds(VALUES) is False
        return
    with pytest.raises(UserError, match=said):
        parse_constraint(text, list(VALUES))


def test_what_cannot_be_compared_or_divided_says_so() -> None:
    for text in ("core.weight_format < 3", "core.lanes / (mesh.rows - 2) > 1"):
        with pytest.raises(UserError, match="constraint"):
            parse_constraint(text, list(VALUES)).holds(VALUES)


def test_constraints_leave_points_out(tmp_path: Path) -> None:
    found = written(tmp_path, 'constraints = ["core.lanes <= core.contexts"]\n[axes]\ncore.lanes = [1, 2, 4, 8]\n')
    assert [values["core.lanes"] for values in grid(found)] == [
        lanes for lanes in (1, 2, 4, 8) if lanes <= found.base.core.contexts
    ]


def test_points_may_be_listed(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        '[axes]\ncore.lanes = [1, 2]\n[[points]]\ncore.lanes = 8\ncore.contexts = 4\n[[points]]\ntrace = "other"\n',
    )
    assert list(listed(found)) == [
        {"trace": "digits", "energy": None, "core.lanes": 8, "core.contexts": 4},
        {"trace": "other", "energy": None},
    ]
    assert [values.get("core.lanes") for values in grid(found)] == [1, 2, 8, None]


def test_a_table_of_another_node_builds_the_chip_there(tmp_path: Path) -> None:
    found = written(tmp_path, 'energy = ["cmos45", "cmos28"]\n[axes]\ncore.lanes = [2]\n')
    chips = [found.candidate(values).chip for values in grid(found)]
    assert [chip.technology.node_nm for chip in chips if chip is not None] == [45, 28]


def test_without_a_table_each_chip_has_that_of_its_node(tmp_path: Path) -> None:
    found = written(tmp_path, "[axes]\ntechnology.node_nm = [45, 28]\n")
    assert [candidate.energy for candidate in map(found.candidate, grid(found))] == ["cmos45", "cmos28"]


def _sample(count: int, seed: int = 0) -> Iterator[str]:
    return (str(values) for values in sobol(load_space("codesign"), count, seed))


def test_a_sample_is_of_different_points_that_are_allowed_and_the_same_each_time() -> None:
    one, again, other = (list(_sample(200, seed)) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    assert len(set(one)) == 200
    assert set(one) <= set(map(str, grid(load_space("codesign"))))


def test_a_sample_larger_than_the_space_is_the_space(tmp_path: Path) -> None:
    found = written(tmp_path, "[axes]\ncore.lanes = [1, 2, 4]\ncore.contexts = [2, 4]\n")
    assert sorted(map(str, sobol(found, 50, 0))) == sorted(map(str, grid(found)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[axes]\ncore.lane = [1]\n", "axes.core.lane: unknown key.*core.lanes"),
        ("[axes]\ncore.lanes = []\n", "axes.core.lanes: holds no value"),
        ("[axes]\ncore.lanes = [1]\ncore.lane = []\n", "core.lane: unknown key.*core.lane: holds no value"),
        ("axis = 3\n[axes]\ncore.lanes = [1]\n", "axis: unknown key.*axes"),
        ("", "axes: missing"),
        ('constraints = ["core.lanes < 1"]\n[axes]\ncore.lanes = [1, 2]\n', "no combination.*core.lanes < 1"),
        (
            'constraints = ["core.lanes < 2", "core.lanes > 1"]\n[axes]\ncore.lanes = [1, 2]\n',
            "no combination of the axes meets 'core.lanes < 2' and 'core.lanes > 1'",
        ),
        ('constraints = "core.lanes < 1"\n[axes]\ncore.lanes = [1, 2]\n', "must be a list of texts"),
        ("energy = 3\n[axes]\ncore.lanes = [1]\n", "energy: must be the name"),
        ('energy = ["cmos45", "cmos4"]\n[axes]\ncore.lanes = [1]\n', "no energy table 'cmos4'"),
        ('energy = "cmos45"\n[axes]\ntechnology.node_nm = [45, 28]\n', "leave it out where technology.node_nm"),
        ("[axes]\ncore.lanes = [0, 2]\n", "core.lanes = 0"),
        ("points = 3\n[axes]\ncore.lanes = [2]\n", "points: must be tables"),
        ("[[points]]\ncore.lane = 3\n", "points 1, core.lane: unknown key"),
    ],
)
def test_a_space_that_is_none_is_refused_with_every_fault(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        written(tmp_path, text)


HUGE = """
constraints = ["mesh.columns >= mesh.rows"]
[axes]
mesh.columns = { from = 1, to = 8, step = 1 }
mesh.rows = { from = 1, to = 8, step = 1 }
core.lanes = { from = 1, to = 64, step = 1 }
core.fifo_flits = { from = 1, to = 64, step = 1 }
core.weight_banks = { from = 1, to = 16, step = 1 }
core.contexts = { from = 2, to = 16, step = 1 }
core.weight_kib = { from = 16.0, to = 512.0, step = 16.0 }
core.spike_kib = { from = 16.0, to = 512.0, step = 16.0 }
core.sweep_width = { from = 1, to = 64, step = 1 }
core.partition = ["channel", "token"]
core.weight_format = ["bitmap", "csr", "dense"]
"""


def test_a_space_beyond_counting_can_be_begun(tmp_path: Path) -> None:
    """Nothing of the size of the space is held: it is larger than any memory."""
    found = written(tmp_path, HUGE)
    assert found.size > 10**13
    for seed in (None, 0):
        assert len({str(values) for values, _ in zip(grid(found, seed), range(100), strict=False)}) == 100
    assert len(list(sobol(found, 16, 0))) == 16


@pytest.mark.parametrize("size", [1, 2, 3, 31, 32, 33, 64, 65, 1000, 4097])
def test_an_order_of_blocks_leaves_none_out(size: int) -> None:
    found = replace(load_space("digits"), axes={"core.lanes": tuple(range(1, size + 1))}, traces=("digits",))
    for seed in (None, 0, 1, 2):
        assert sorted(values["core.lanes"] for values in grid(found, seed)) == list(range(1, size + 1))  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ({"from": 0.1, "to": 0.3, "step": 0.1}, (0.1, 0.2, 0.3)),
        ({"from": 0.6, "to": 1.2, "step": 0.1}, (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)),
        ({"from": 0.1, "to": 0.8, "times": 2}, (0.1, 0.2, 0.4, 0.8)),
        ({"from": 1, "to": 4.5, "step": 1}, (1, 2, 3, 4)),
    ],
)
def test_a_range_has_the_decimals_that_it_says(table: dict[str, float], values: tuple[float, ...]) -> None:
    found = axis_values(table)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["from", "to", "step"])
def test_a_range_is_finite(key: str, number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        axis_values({"from": 1.0, "to": 4.0, "step": 1.0} | {key: number})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("core.lanes == '%' % core.lanes", "only numbers can be computed with"),
        ("core.lanes < '%999999999999d' % core.lanes", "only numbers can be computed with"),
        ("core.lanes < " + "9" * 350 + " / 3", "too large"),
        ("core.lanes in [1, 2] * 2", "only numbers can be computed with"),
    ],
)
def test_constraints_compute_with_numbers_alone(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "s.toml").write_text(f'chip = "edge"\nconstraints = ["{text}"]\n[axes]\ncore.lanes = [2, 4]\n')
    with pytest.raises(UserError, match=why):
        load_space(tmp_path / "s.toml")


def test_constraints_of_a_large_space_are_refused_at_once(tmp_path: Path) -> None:
    """Only the axes that they name are gone through."""
    axes = "".join(
        f"{key} = {{ from = 1, to = 60, step = 1 }}\n" for key in ("contexts", "lanes", "fifo_flits", "input_macs")
    )
    text = (
        f'chip = "edge"\nconstraints = ["core.lanes > 8", "core.lanes < 4"]\n[axes.core]\n{axes}sweep_width = [1, 2]\n'
    )
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(UserError, match=r"no combination of the axes meets 'core.lanes > 8' and 'core.lanes < 4'"):
        load_space(tmp_path / "s.toml")


def test_points_may_name_a_trace_and_a_table(tmp_path: Path) -> None:
    point = '[[points]]\ncore.lanes = 4\ntrace = "{}"\nenergy = "{}"\n'
    path = tmp_path / "s.toml"
    path.write_text('chip = "edge"\ntraces = ["digits"]\n' + point.format("digits", "cmos28"))
    [found] = listed(load_space(path))
    assert load_space(path).candidate(found).chip.technology.node_nm == 28
    path.write_text('chip = "edge"\ntraces = ["digits"]\n' + point.format("other", "cmos28"))
    assert load_space(path).every_trace == ("digits", "other")
    path.write_text('chip = "edge"\ntraces = ["digits"]\n' + point.format("digits", "cmos82"))
    with pytest.raises(UserError, match="cmos82"):
        load_space(path)


def test_what_is_said_about_a_chip_is_no_axis(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('chip = "edge"\n[axes]\nname = ["a", "b"]\n')
    with pytest.raises(UserError, match=r"axes\.name: is said about a chip"):
        load_space(tmp_path / "s.toml")
