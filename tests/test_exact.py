"""The exact front: what may be left out, that the front is that of a whole sweep, and that a run goes on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sparsespike import UserError
from sparsespike.analysis import space
from sparsespike.analysis.explore import exact, point, pruning, store, sweep, twins
from sparsespike.analysis.explore.metrics import BOUNDED, METRICS, OBJECTIVES
from sparsespike.analysis.explore.results import fronts, left_out, read_rows
from sparsespike.analysis.parallel import Workers
from sparsespike.simulator.trace import load_trace, save_trace

LATENCY_AREA = pruning.Goal(("latency", "area"))


# ---- what may be left out ----


def row_of(key: str, trace: str, latency: float, area: float) -> store.Row:
    """A point, or its bound, of two numbers."""
    metrics: dict[str, float | None] = dict.fromkeys(METRICS, 0.0) | {"latency": latency, "area": area}
    return store.Row(key, "p", trace, "e", {"at": key}, metrics)


@st.composite
def points(draw: st.DrawFn) -> tuple[list[store.Row], list[store.Row]]:
    """Values of few sizes, so that many tie, on two traces; bounds of the first that reach it or not, of the other not.

    Latencies reach from 1 up; area is known exactly.
    """
    count = draw(st.integers(1, 40))
    small = st.integers(1, 6)
    rows, bounds = [], []
    for key in map(str, range(count)):
        trace, latency, area = draw(st.sampled_from("ab")), draw(small), draw(small)
        rows.append(row_of(key, trace, float(latency), float(area)))
        bounds.append(row_of(key, trace, latency * draw(st.sampled_from([0.25, 0.5, 0.9, 1.0])), float(area)))
    return rows, bounds


def simulated_of(goal: pruning.Goal, rows: list[store.Row], bounds: list[store.Row]) -> list[store.Row]:
    """What is simulated, one after the other."""
    leaders, simulated = pruning.Leaders(goal), []
    for at in pruning.in_order(np.array([goal.floor(row) for row in bounds])):
        if not leaders.settle(bounds[at]):
            leaders.add(rows[at])
            simulated.append(rows[at])
    return simulated


def keys_of(rows: list[store.Row], goal: pruning.Goal) -> dict[str, set[str]]:
    """Keys on the front, by trace; a trace without points is left out."""
    return {name: {row.key for row in front} for name, front in fronts(rows, goal.objectives).items()}


@given(points())
@settings(max_examples=100, deadline=None)
def test_what_is_left_out_is_not_on_the_front(drawn: tuple[list[store.Row], list[store.Row]]) -> None:
    """Equal points included; and in this order nothing is simulated that another order could have left out."""
    rows, bounds = drawn
    simulated = simulated_of(LATENCY_AREA, rows, bounds)
    assert keys_of(simulated, LATENCY_AREA) == keys_of(rows, LATENCY_AREA)
    assert pruning.unsettled(simulated, bounds, ("latency", "area")) == 0
    every = pruning.Leaders(LATENCY_AREA)
    for row in rows:
        every.add(row)
    needed = {row.key for row in bounds if not every.settle(row)}
    assert {row.key for row in simulated} == needed


@given(points(), st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=100, deadline=None)
def test_within_keeps_its_guarantee(drawn: tuple[list[store.Row], list[store.Row]], within: float) -> None:
    """Every point of the true front has one on the returned front within the factor, in every objective."""
    rows, bounds = drawn
    goal = replace(LATENCY_AREA, within=within)
    simulated = simulated_of(goal, rows, bounds)
    assert len(simulated) <= len(simulated_of(LATENCY_AREA, rows, bounds))
    returned = fronts(simulated, goal.objectives)
    for name, front in fronts(rows, goal.objectives).items():
        near = np.array([goal.costs(row) for row in returned[name]])
        for row in front:
            assert (near <= (1 + within) * goal.costs(row)).all(axis=1).any()


def test_ties_survive() -> None:
    leaders = pruning.Leaders(LATENCY_AREA)
    leaders.add(row_of("one", "a", 2.0, 3.0))
    for latency, area, settled in ((2.0, 3.0, False), (2.0, 3.1, True), (2.1, 3.0, True), (1.9, 9.0, False)):
        assert leaders.settle(row_of("other", "a", latency, area)) is settled
    assert not leaders.settle(row_of("other", "b", 9.0, 9.0))  # other work is not compared
    loose = pruning.Leaders(replace(LATENCY_AREA, within=0.05))
    loose.add(row_of("one", "a", 2.0, 3.0))
    for latency, area, settled in ((2.0, 3.0, True), (1.91, 2.86, True), (1.90, 2.86, False), (1.91, 2.85, False)):
        assert loose.settle(row_of("other", "a", latency, area)) is settled


def test_rounding_leaves_nothing_out() -> None:
    """Sums of energies may round either way; a latency does not, and no area."""
    goal = pruning.parse_goal("energy,area")
    leaders = pruning.Leaders(goal)
    one = row_of("one", "a", 1.0, 3.0)
    for energy, settled in ((2.0, False), (2.0 + 1e-10, False), (2.0 + 1e-6, True)):
        leaders.add(replace(one, metrics={**(one.metrics or {}), "energy": 2.0}))
        assert leaders.settle(replace(one, metrics={**(one.metrics or {}), "energy": energy, "area": 4.0})) is settled


def test_with_accuracy_traces_compete() -> None:
    goal = pruning.parse_goal("latency,accuracy")
    metrics: dict[str, float | None] = dict.fromkeys(METRICS, 1.0)
    good = store.Row("good", "p", "one", "e", {}, metrics | {"latency": 1.0, "accuracy": 0.9})
    bad = store.Row("bad", "p", "other", "e", {}, metrics | {"latency": 2.0, "accuracy": 0.8})
    leaders = pruning.Leaders(goal)
    leaders.add(good)
    assert goal.group(bad) == goal.group(good) == ""
    assert leaders.settle(bad)
    assert not leaders.settle(replace(bad, metrics={**(bad.metrics or {}), "accuracy": 0.95}))


def test_goals() -> None:
    assert pruning.parse_goal("latency,energy") == pruning.Goal(("latency", "energy"))
    assert pruning.parse_goal("area", "5%").within == pruning.parse_goal("area", "0.05").within == 0.05
    assert set(OBJECTIVES) - set(BOUNDED) == {"power", "throughput"}
    for objectives, within, text in (
        ("latency,power", None, "objective 'power': nothing is known of it without simulating"),
        ("throughput", None, "objective 'throughput'"),
        ("latncy", None, "did you mean 'latency'"),
        ("latency", "lots", "within = 'lots': must be a share"),
        ("latency", "-1%", "must be a share"),
        ("latency", "nan", "must be a share"),
        ("latency", "200%", "must be a share"),
    ):
        with pytest.raises(UserError, match=text):
            pruning.parse_goal(objectives, within)


# ---- a whole run ----

SPACE = """
chip = "edge"
images = 1
constraints = ["core.lanes != 2 or core.weight_format != 'csr'"]
[axes]
core.lanes = [2, 8]
core.weight_format = ["bitmap", "csr"]
core.weight_kib = [1.0, 32.0, 64.0]
[[points]]
schedule = "pipelined"
[[points]]
core.weight_word_bits = 9
"""


@pytest.fixture(scope="module")
def paths(trace_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two traces: the same ticket on one image, and on another."""
    other = tmp_path_factory.mktemp("exact") / "second.safetensors"
    trace = load_trace(trace_file)
    save_trace(replace(trace.first(1), provenance={**trace.provenance, "ticket_integer_test_accuracy": "0.5"}), other)
    return {"first": trace_file, "second": other}


@pytest.fixture(scope="module")
def small(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> space.Space:
    path = tmp_path_factory.mktemp("exact") / "small.toml"
    path.write_text(SPACE)
    return replace(space.load_space(path), traces=tuple(paths))


@pytest.fixture(scope="module")
def every(small: space.Space, paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[store.Row]:
    """All points, by brute force."""
    out = tmp_path_factory.mktemp("exact") / "all.sqlite"
    sweep.run_sweep(small, paths, out, workers=Workers(1))
    return read_rows(out)


@pytest.mark.parametrize("objectives", ["latency,energy", "area,latency", "accuracy,edp", "energy", "peak_power,dram"])
def test_the_front_is_that_of_a_sweep(
    objectives: str, small: space.Space, paths: dict[str, Path], every: list[store.Row], tmp_path: Path
) -> None:
    """With points that do not fit, chips that cannot be, several traces, and points equal in all that is asked for."""
    goal, out = pruning.parse_goal(objectives), tmp_path / "r.sqlite"
    found = exact.run_exact(small, paths, out, goal, workers=Workers(1))
    rows = read_rows(out)
    fit = [row for row in every if row.feasible]
    assert (found.points, found.fit) == (len(every), len(fit))
    assert len(fit) < len(every)
    assert fronts(rows, goal.objectives) == fronts(every, goal.objectives)
    assert found.simulated == sum(row.feasible for row in rows) < len(fit)
    assert [row for row in rows if not row.feasible] == [row for row in every if not row.feasible]
    assert "none can be on this front" in left_out(out, objectives)[0]


def test_two_workers_and_a_factor(
    small: space.Space, paths: dict[str, Path], every: list[store.Row], tmp_path: Path
) -> None:
    goal = pruning.parse_goal("latency,energy,area")
    exact.run_exact(small, paths, tmp_path / "two.sqlite", goal, workers=Workers(2))
    assert fronts(read_rows(tmp_path / "two.sqlite"), goal.objectives) == fronts(every, goal.objectives)
    near = exact.run_exact(small, paths, tmp_path / "near.sqlite", replace(goal, within=0.3), workers=Workers(1))
    returned = fronts(read_rows(tmp_path / "near.sqlite"), goal.objectives)
    assert near.simulated < len(read_rows(tmp_path / "two.sqlite"))
    for name, front in fronts(every, goal.objectives).items():
        costs = np.array([goal.costs(row) for row in returned[name]])
        assert all((costs <= 1.3 * goal.costs(row)).all(axis=1).any() for row in front)


def test_bounds_say_what_metrics_say_of_them(
    small: space.Space, paths: dict[str, Path], every: list[store.Row]
) -> None:
    """`below` is never above, `exact` equal to the last bit, "" nothing; the same points fit, the others say why."""
    traces = sweep.open_traces(small, paths)
    entries = [point.point_of(small, traces, small.candidate(values)) for values in space.grid(small)]
    true = {row.key: row for row in every}
    for entry in entries:
        bound = entry if isinstance(entry, store.Row) else point.bound_point(entry)
        row = true[entry.key]
        assert (bound.feasible, bound.reason) == (row.feasible, row.reason)
        for name in OBJECTIVES if row.feasible else ():
            known, value = (bound.metrics or {})[name], (row.metrics or {})[name]
            if METRICS[name].bound == "exact":
                assert known == value
            elif METRICS[name].bound == "below":
                assert known is not None
                assert value is not None
                assert 0.5 * value < known * (1 - pruning.ROUNDING) <= value
            else:
                assert known is None


# ---- twins ----

TWINS = """
chip = "edge"
images = 2
[axes]
core.partition = ["channel", "token"]
core.weight_kib = [4.0, 16.0, 32.0]
core.spike_kib = [0.5, 32.0]
core.potential_kib = [0.25, 4.0]
token_unit.policy = ["skip", "gate", "off"]
technology.node_nm = [22, 32]
"""


def test_twins_take_the_same_cycles(trace_file: Path, tmp_path: Path) -> None:
    """Every point of a space about sizes against the one before it that is its twin; some are alike but no twins."""
    (tmp_path / "twins.toml").write_text(TWINS)
    found = replace(space.load_space(tmp_path / "twins.toml"), traces=("digits",))
    traces = sweep.open_traces(found, {"digits": trace_file})
    entries = [point.point_of(found, traces, found.candidate(one)) for one in space.sobol(found, 48, 3)]
    by_key = {one.key: one for one in entries if isinstance(one, point.Point)}
    fit = [bound for bound in map(point.bound_point, by_key.values()) if bound.feasible]
    pairs = twins.Twins(lambda row: by_key[row.key], ())
    known = 0
    for bound in fit:
        true, sharp = point.simulate_point(by_key[bound.key]).metrics or {}, pairs.sharpen(bound)
        if sharp is not bound:
            known += 1
            for name in BOUNDED:
                assert (sharp.metrics or {})[name] == pytest.approx(true[name], rel=1e-12), name
            for name in ("latency", "cycles", "area", "dram"):
                assert (sharp.metrics or {})[name] == true[name]
        pairs.add(replace(bound, metrics=true))
    alike: dict[str, set[object]] = {}
    for row in fit:
        alike.setdefault(twins.likeness_of(by_key[row.key]), set()).add(twins.pace_of(by_key[row.key]))
    apart = sum(len(paces) > 1 for paces in alike.values())
    assert known >= 10
    assert apart >= 2


# ---- going on ----


class Stopped(KeyboardInterrupt):
    """Ctrl-C at a moment of our choice."""


def stopping(after: int, calls: list[str], work: object) -> object:
    def run(entry: point.Point) -> store.Row:
        if len(calls) == after:
            raise Stopped
        calls.append(entry.key)
        return work(entry)  # type: ignore[operator, no-any-return]

    return run


@pytest.mark.parametrize("half", ["bound_point", "simulate_point"])
def test_an_interrupted_run_goes_on(
    half: str,
    small: space.Space,
    paths: dict[str, Path],
    every: list[store.Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No point is simulated twice, no stored bound is computed twice, and what comes out is the same."""
    goal, out, work = pruning.parse_goal("latency,area"), tmp_path / "r.sqlite", getattr(point, half)
    calls: list[str] = []
    after = exact.BLOCK + 2 if half == "bound_point" else 2
    monkeypatch.setattr(exact, half, stopping(after, calls, work))
    with pytest.raises(KeyboardInterrupt, match="are kept in"):
        exact.run_exact(small, paths, out, goal, workers=Workers(1))
    kept = set(calls)
    monkeypatch.setattr(exact, half, stopping(10_000, calls := [], work))
    found = exact.run_exact(small, paths, out, goal, workers=Workers(1))
    again = len(kept & set(calls))
    assert again < min(exact.BLOCK, len(kept)) if half == "bound_point" else again == 0  # of the block in flight
    assert fronts(read_rows(out), goal.objectives) == fronts(every, goal.objectives)
    monkeypatch.setattr(exact, "bound_point", stopping(0, [], work))
    monkeypatch.setattr(exact, "simulate_point", stopping(0, [], work))
    assert exact.run_exact(small, paths, out, goal, workers=Workers(1)) == found  # nothing is left to do


def test_what_a_sweep_knows_is_used(
    small: space.Space, paths: dict[str, Path], every: list[store.Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points that stand in the file, from a sweep or from another process meanwhile, are not simulated again."""
    out, goal = tmp_path / "r.sqlite", pruning.parse_goal("latency,area")
    with store.open_store(out, create=True) as opened:
        for row in every:
            opened.add(row)
    monkeypatch.setattr(exact, "simulate_point", stopping(0, [], None))
    found = exact.run_exact(small, paths, out, goal, workers=Workers(1))
    assert found.simulated == found.fit

    def meanwhile() -> Iterator[None]:
        with store.open_store(tmp_path / "other.sqlite") as opened:
            for row in every:
                opened.add(row)
        yield

    other = meanwhile()
    steps = exact.Steps(simulating=lambda done, total: next(other, None))
    found = exact.run_exact(small, paths, tmp_path / "other.sqlite", goal, workers=Workers(1), steps=steps)
    assert found.simulated == found.fit


def test_a_trace_without_labels_has_no_accuracy(small: space.Space, paths: dict[str, Path], tmp_path: Path) -> None:
    bare = load_trace(paths["first"])
    save_trace(replace(bare, labels=None, provenance={}), tmp_path / "bare.safetensors")
    with pytest.raises(UserError, match="objective 'accuracy': a point has none"):
        exact.run_exact(
            replace(small, traces=("bare",)),
            {"bare": tmp_path / "bare.safetensors"},
            tmp_path / "r.sqlite",
            pruning.parse_goal("accuracy,latency"),
            workers=Workers(1),
        )


def test_the_command_says_how_many(paths: dict[str, Path], tmp_path: Path) -> None:
    from sparsespike.explorations import SweepRequest
    from sparsespike.explorations import sweep as command

    (tmp_path / "small.toml").write_text(SPACE)
    options = SimpleNamespace(traces=[str(paths["first"])], space=str(tmp_path / "small.toml"), jobs=1)
    with pytest.raises(UserError, match="--exact-front must say which"):
        command(SweepRequest(tmp_path / "r.sqlite", within="5%", **vars(options)))
    with pytest.raises(UserError, match="objective 'power'"):
        command(SweepRequest(tmp_path / "r.sqlite", exact_front="power", **vars(options)))
    assert not (tmp_path / "r.sqlite").exists()
