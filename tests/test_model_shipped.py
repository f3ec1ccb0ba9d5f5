"""The shipped tickets: real, small, sparse, and good on images that they have never seen."""

import re

import numpy as np
import pytest
from sparsespike import recipes
from sparsespike.analysis.tables import percent_pruned
from sparsespike.model.data import load_data
from sparsespike.model.evaluate import evaluate
from sparsespike.model.export import trace_dataset
from sparsespike.model.lowering import lower
from sparsespike.model.ticket import load_ticket
from sparsespike.model.tickets import ALIASES, SHIPPED, find, shipped
from sparsespike.simulator.errors import UserError

FILES = [name for name in SHIPPED if name not in ALIASES]
_ROUND = re.compile(r"digits-(?:keep([\d.]+)|rate|random|ann-keep([\d.]+))-seed(\d)-round(\d+)")
LADDER = [name for name in FILES if name.startswith("digits-")]
TOKENS = {
    "1.0": (64, 64, 64, 64),
    "0.9": (64, 57, 51, 46),
    "0.8": (64, 51, 40, 32),
    "0.7": (64, 44, 31, 21),
    "0.6": (64, 38, 23, 13),
    "0.5": (64, 32, 16, 8),
}


def test_names_and_size():
    assert set(ALIASES) < set(SHIPPED)
    assert set(ALIASES.values()) <= set(FILES)
    assert sum(shipped(name).stat().st_size for name in FILES) < 15_000_000
    with pytest.raises(UserError, match="did you mean 'digits-pruned'"):
        shipped("digits-prune")


def test_a_name_that_is_a_file_is_the_file(tmp_path):
    assert find("digits") == shipped("digits")
    assert find("some/where").parts == ("some", "where")
    assert find("checkpoint.pth").name == "checkpoint.pth"
    with pytest.raises(UserError, match="no ticket 'digit'; did you mean 'digits'"):
        find("digit")


@pytest.mark.parametrize("name", FILES)
def test_a_ticket_says_how_it_was_made_and_is_what_it_says(name):
    ticket = load_ticket(shipped(name))
    record = ticket.provenance
    assert record["command"].startswith(f"sparsespike train --data {record['data']} --seed {record['seed']} ")
    assert record["sparsity_of_prunable"] == f"{ticket.sparsity:.4f}"
    assert record["sparsity_of_all"] == f"{ticket.sparsity_all:.4f}"


@pytest.mark.parametrize("name", LADDER)
def test_the_ladder_prunes_a_quarter_of_the_survivors_per_round(name):
    ticket = load_ticket(shipped(name))
    keep, twin, seed, number = _ROUND.fullmatch(name).groups()
    left = ticket.prunable
    for _ in range(int(number)):
        left -= int(0.25 * left)
    assert ticket.prunable - ticket.zeros == left
    assert (ticket.provenance["round"], ticket.provenance["seed"]) == (str(int(number)), seed)
    assert ticket.kept_tokens == TOKENS[keep or twin or "0.7"]


def test_what_is_shipped_of_digits():
    """Three whole ladders, and at round 9 every keep ratio and every selector."""
    ladders = {f"digits-keep0.7-seed{seed}-round{number:02}" for seed in range(3) for number in range(12)}
    others = {f"digits-keep{keep}-seed1-round09" for keep in (1.0, 0.9, 0.8, 0.6, 0.5)}
    others |= {f"digits-{form}-seed1-round09" for form in ("rate", "random")}
    twins = {"digits-ann-keep1.0-seed1-round00", "digits-ann-keep0.7-seed1-round09"}
    assert set(LADDER) == ladders | others | twins | {"digits-keep1.0-seed1-round00"}


def test_the_ladder_reaches_ninety_five_per_cent():
    assert load_ticket(shipped("digits")).sparsity > 0.9
    assert load_ticket(shipped("digits-keep0.7-seed1-round08")).sparsity < 0.9  # round 9 is the first above
    assert load_ticket(shipped("digits-keep0.7-seed1-round11")).sparsity > 0.95


def recorded(name):
    return float(load_ticket(shipped(name)).provenance["integer_test_accuracy"])


@pytest.mark.parametrize("seed", range(3))
def test_a_tenth_of_the_weights_is_as_good_as_all_to_a_point(seed):
    ladder = f"digits-keep0.7-seed{seed}-round"
    assert recorded(f"{ladder}09") >= recorded(f"{ladder}00") - 0.01


def test_so_are_tickets_of_other_keeps_and_selectors():
    dense = recorded("digits-dense")
    for name in LADDER:
        if name.endswith("seed1-round09"):
            assert recorded(name) >= dense - 0.01, name


@pytest.mark.parametrize("name", [name for name in FILES if name not in LADDER])
def test_larger_networks_have_lost_nine_tenths_of_their_weights(name):
    assert load_ticket(shipped(name)).sparsity >= 0.9


def test_fashion_mnist_is_recognised():
    assert recorded("fashion-mnist") >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize("name", ALIASES)
def test_accuracy_on_the_held_out_images(name):
    accuracy = evaluate(shipped(name), "digits")
    provenance = load_ticket(shipped(name)).provenance
    assert accuracy.images == len(load_data("digits").test.labels)
    # Float sums depend on the machine's last bits, the integer network on nothing.
    assert accuracy.float_ == pytest.approx(float(provenance["float_test_accuracy"]), abs=0.006)
    assert f"{accuracy.integer:.4f}" == provenance["integer_test_accuracy"]


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


@pytest.mark.parametrize("terminal", [False, True])
def test_a_tickets_command_is_shown_whole(terminal, monkeypatch, capsys):
    """On a line of its own, however narrow the terminal is; and its sparsity is that of the tables."""
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "80")
    ticket = load_ticket(shipped("digits"))
    recipes.inspect("digits")
    printed = capsys.readouterr().out
    assert ("\x1b[" in printed) == terminal
    command = ticket.provenance["command"]
    assert len(command) > 200
    assert command in printed.splitlines()
    assert percent_pruned(ticket.sparsity) == "92.49 %"
    assert "92.49 %" in printed
