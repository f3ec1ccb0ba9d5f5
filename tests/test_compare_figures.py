"""Figures of the result table as a reader sees them: every text whole, none printed over another."""

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from sparsespike.analysis.compare.figures import compare_figures, ladder
from sparsespike.analysis.compare.groups import series_of
from sparsespike.analysis.compare.rows import WIDE_FLITS, Row, load_results
from sparsespike.analysis.style import styled

TICKETS = Path(__file__).parents[1] / "model" / "tickets"


def _texts_of(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with its box in pixels: of no tick or legend that is not shown."""
    found: list[Text] = []
    draw = Text.draw

    def record(self: Text, *rest: Any, **named: Any) -> None:
        found.append(self)
        draw(self, *rest, **named)

    figure.draw_without_rendering()  # everything finds its place
    with monkeypatch.context() as patched:
        patched.setattr(Text, "draw", record)
        figure.draw_without_rendering()
    shown = [text for text in found if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


def _unreadable(figures: Mapping[str, Figure], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Texts that the canvas cuts off, and pairs of which one is printed over the other, by the figure's name."""
    found: list[tuple[str, ...]] = []
    for name, figure in figures.items():
        texts = _texts_of(figure, monkeypatch)
        assert len(texts) > 5, name
        canvas = figure.bbox.padded(0.5)
        for text, box in texts:
            inside = canvas.x0 <= box.x0 <= box.x1 <= canvas.x1 and canvas.y0 <= box.y0 <= box.y1 <= canvas.y1
            found += [] if inside else [(name, text)]
        for (one, first), (other, second) in itertools.combinations(texts, 2):
            common = Bbox.intersection(first, second)
            found += [(name, one, other)] if common is not None and min(common.width, common.height) >= 1 else []
    return found


@pytest.mark.parametrize("data", ["digits", "fashion-mnist", "cifar10"])
def test_every_text_of_a_shipped_figure_can_be_read(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = load_results(TICKETS / f"results-{data}.json")
    with styled():
        assert _unreadable(compare_figures(results), monkeypatch) == []


def _of_another_training(row: Row, number: int) -> Row:
    """The row as if its ticket were in a folder deep down, and of another training than those of other numbers."""
    options = {"learning-rate": "0.003", "teacher": "yes", "label-smoothing": "0.1", "epochs": str(100 + number)}
    training = row.ticket.training | (options if number else {})
    name = f"out/{'folder-of-runs/' * 4}{number}/{row.ticket.name}"
    return dataclasses.replace(row, ticket=dataclasses.replace(row.ticket, name=name, training=training))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_long_names_are_wrapped_not_cut(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of so many trainings of each kind that differ in their options, in files deep in folders."""
    results = load_results(TICKETS / "results-fashion-mnist.json")
    rows = tuple(_of_another_training(row, number) for number in range(count) for row in results.rows)
    with styled():
        assert _unreadable(compare_figures(dataclasses.replace(results, rows=rows)), monkeypatch) == []


def test_an_ann_on_two_kinds_of_flits_is_one_line_with_both_energies() -> None:
    results = load_results(TICKETS / "results-digits.json")
    twins = [row for row in results.on_chip if row.ticket.neuron == "relu" and row.ticket.keep == 1]
    energies = {row.variant: f"{row.energy_pj / 1e6:.3g} µJ" for row in twins}
    assert set(energies) == {"", WIDE_FLITS}
    figure = ladder(series_of(results.on_chip), results)
    assert [line.get_linestyle() for line in figure.axes[0].lines].count("--") == 1
    accuracy = f"{100 * (twins[0].ticket.accuracy_integer or 0):.1f} %"
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"ANN twin, all tokens ({accuracy}):\n{energies['']}; {WIDE_FLITS}: {energies[WIDE_FLITS]}" in said
