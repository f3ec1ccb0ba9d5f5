"""Quantised ANN twins in files, in words, and mistakes."""

import dataclasses

import pytest
from ann_twins import TINY, images_for, random_ticket, trace_of
from sparsespike import recipes
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.ticket import Calibration, Ticket, load_ticket, save_ticket
from sparsespike.simulator.errors import UserError
from sparsespike.simulator.files import load_tensors
from sparsespike.simulator.trace import load_trace, save_trace


def test_ticket_and_trace_files_give_the_twin_back(tmp_path, capsys):
    ticket = random_ticket(TINY)
    digest = save_ticket(ticket, tmp_path / "ticket.safetensors")
    again = load_ticket(tmp_path / "ticket.safetensors")
    assert digest == ticket.sha256 == again.sha256
    assert (again.config, again.calibration) == (TINY, ticket.calibration)
    trace = trace_of(again, images_for(TINY, 2))
    assert save_trace(trace, tmp_path / "trace.safetensors") == trace.sha256
    assert load_trace(tmp_path / "trace.safetensors").sha256 == trace_of(ticket, images_for(TINY, 2)).sha256
    for name in ("ticket", "trace"):
        recipes.inspect(tmp_path / f"{name}.safetensors")
        assert "ReLU, 8 bits" in capsys.readouterr().out


def test_a_spiking_ticket_says_nothing_of_twins(tmp_path):
    """So that tickets of before keep their bytes."""
    save_ticket(random_ticket(dataclasses.replace(TINY, neuron="lif")), tmp_path / "t.safetensors")
    _, header, _ = load_tensors(tmp_path / "t.safetensors", "ticket", 1)
    assert "neuron" not in header["config"]
    assert set(header["calibration"]) == {"pixel_max", "hidden_max"}


def with_ranges(config: SpikformerConfig = TINY, **changes: float) -> Ticket:
    ticket = random_ticket(config)
    ranges = {name: value for name, value in (ticket.calibration.ranges | changes).items() if value is not None}
    found = ticket.calibration
    return dataclasses.replace(ticket, calibration=Calibration(found.pixel_max, found.hidden_max, ranges))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: dataclasses.replace(TINY, timesteps=4), r"timesteps = 4: an ANN \(neuron `relu`\) has one"),
        (lambda: dataclasses.replace(TINY, neuron="rely"), "neuron 'rely' is unknown; did you mean 'relu'"),
        (lambda: with_ranges(x=None), "calibration.ranges: 'x' is missing"),
        (lambda: with_ranges(y=1.0), "calibration.ranges: 'y' is unknown"),
        (lambda: with_ranges(x=-1.0), r"calibration\.ranges\.x = -1\.0: needs 0, or a number from"),
        (lambda: with_ranges(x=float("nan")), r"calibration\.ranges\.x = nan: needs 0, or"),
        (lambda: with_ranges(dataclasses.replace(TINY, neuron="lif"), x=1.0), "calibration.ranges: 'x' is unknown"),
    ],
)
def test_mistakes_are_refused(build, message):
    with pytest.raises(UserError, match=message):
        build()


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_the_widest_ranges_that_are_accepted_run_without_a_warning(scale):
    """Warnings are errors: all small, all large, and one beside the other, as scales are quotients."""
    ticket = random_ticket(dataclasses.replace(TINY, attention_scale=scale))
    names = list(ticket.calibration.ranges)
    for values in ((1.2e-38,), (3.4e38,), (1.2e-38, 3.4e38), (3.4e38, 1.2e-38)):
        ranges = {name: values[index % len(values)] for index, name in enumerate(names)}
        hidden = (0.0,) * len(ticket.calibration.hidden_max)
        calibration = dataclasses.replace(ticket.calibration, hidden_max=hidden, ranges=ranges)
        assert trace_of(dataclasses.replace(ticket, calibration=calibration), images_for(TINY, 2)).images == 2
