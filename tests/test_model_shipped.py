"""The shipped tickets: real, small, sparse, and good on images that they have never seen."""

import numpy as np
import pytest
from sparsespike.model.data import load_data
from sparsespike.model.evaluate import evaluate
from sparsespike.model.export import trace_dataset
from sparsespike.model.lowering import lower
from sparsespike.model.ticket import load_ticket
from sparsespike.model.tickets import SHIPPED, shipped
from sparsespike.simulator.errors import UserError

# name -> (least share of prunable weights that are zero, tokens kept per block)
PROMISED = {
    "digits": (0.9, (64, 44, 31, 21)),
    "digits-dense": (0.0, (64, 64, 64, 64)),
    "digits-pruned": (0.9, (64, 64, 64, 64)),
    "digits-tokens": (0.0, (64, 44, 31, 21)),
}


def test_names_and_size():
    assert set(SHIPPED) == set(PROMISED)
    assert sum(shipped(name).stat().st_size for name in SHIPPED) < 3_000_000
    with pytest.raises(UserError, match="did you mean 'digits-pruned'"):
        shipped("digits-prune")


@pytest.mark.parametrize("name", SHIPPED)
def test_sparsity_and_tokens(name):
    ticket = load_ticket(shipped(name))
    least, kept = PROMISED[name]
    assert ticket.sparsity >= least
    assert least or ticket.zeros == 0
    assert ticket.kept_tokens == kept
    assert ticket.provenance["command"].startswith("sparsespike train --data digits --seed 1")
    assert ticket.provenance["sparsity_of_prunable"] == f"{ticket.sparsity:.4f}"


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_accuracy_on_the_held_out_images(name):
    accuracy = evaluate(shipped(name), "digits")
    provenance = load_ticket(shipped(name)).provenance
    assert accuracy.images == len(load_data("digits").test.labels)
    assert accuracy.integer >= 0.97
    # Float sums depend on the machine's last bits, the integer network on nothing.
    assert accuracy.float_ == pytest.approx(float(provenance["float_test_accuracy"]), abs=0.006)
    assert f"{accuracy.integer:.4f}" == provenance["integer_test_accuracy"]
    if name == "digits":
        assert accuracy.integer >= 0.975


def test_trace_of_the_first_test_images():
    trace = trace_dataset(shipped("digits"), "digits", 12)
    test = load_data("digits").test
    assert trace.labels.tolist() == test.labels[:12].tolist()
    assert trace.provenance["image_ids"].split() == [str(number) for number in test.ids[:12]]
    assert trace.provenance["saturated"] == "0"
    assert [kept.shape for kept in trace.kept] == [(12, 44), (12, 31), (12, 21)]
    assert np.array_equal(trace.logits, lower(load_ticket(shipped("digits"))).logits(test.images[:12]))
    first = trace_dataset(shipped("digits"), "digits", 5)
    assert first.streams["x4"].events.offsets.tolist() == trace.first(5).streams["x4"].events.offsets.tolist()


@pytest.mark.parametrize("images", [0, 360])
def test_a_number_of_images_that_the_split_does_not_have(images):
    with pytest.raises(UserError, match="1 to 359 images"):
        trace_dataset(shipped("digits"), "digits", images)
