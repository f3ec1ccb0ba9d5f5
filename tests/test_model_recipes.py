"""Recipes, schedules and losses of training, against hand-worked numbers; gradual pruning; teachers and starts."""

import dataclasses
import itertools
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from sparsespike.model import train as loop
from sparsespike.model.data import DATA_SETS, Augmentation
from sparsespike.model.losses import classification_loss, distillation_loss, mixed, taught
from sparsespike.model.official import Official
from sparsespike.model.pruning import full_masks, prunable, prune_to, survivors
from sparsespike.model.request import RECIPES, TrainRequest
from sparsespike.model.schedule import learning_rate, mixes, sparsity_at
from sparsespike.model.spikformer import Spikformer
from sparsespike.model.start import begin_with
from sparsespike.model.ticket import load_ticket, parameter_shapes
from sparsespike.model.train import train
from sparsespike.simulator.errors import UserError
from tiny_images import tiny

TINY = TrainRequest(data="tiny", keep=0.6, epochs=4, rewind=1, batch=8, width=8, depth=2, heads=2)
GRADUAL = dataclasses.replace(TINY, sparsity=0.8, epochs=5, mixup=0.5)
DATA = tiny(64, Augmentation(shift=1, flip=True))


@pytest.fixture(autouse=True)
def _register(monkeypatch):
    monkeypatch.setitem(DATA_SETS, "tiny", lambda folder: DATA)


# ---- recipes ----


def test_the_paper_recipe_is_the_paper():
    request = TrainRequest.of("paper", seed=3)
    assert (request.rounds + 1) * request.epochs == 4500
    assert (request.prune, request.rewind, request.warm_up, request.batch) == (0.25, 20, 20, 64)
    assert request.learning_rate * request.last_rate == pytest.approx(1e-5)
    assert (request.learning_rate, request.weight_decay, request.smoothing, request.mixup) == (5e-4, 0.06, 0.1, 0.5)
    assert (request.width, request.depth, request.heads, request.timesteps) == (384, 4, 12, 4)
    assert request.activation == "gelu"
    assert request.seed == 3


def test_recipes_name_real_fields_and_given_values_win():
    fields = {field.name for field in dataclasses.fields(TrainRequest)}
    assert all(set(values) <= fields for values in RECIPES.values())
    assert TrainRequest.of("rounds") == TrainRequest()
    assert TrainRequest.of("gradual", sparsity=0.5).sparsity == 0.5


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match="unknown recipe 'gradul'; did you mean 'gradual'"):
        TrainRequest.of("gradul")


def test_the_command_asks_for_the_same_run():
    """Read back by the shell's rules and the command line's own: --name value."""
    request = dataclasses.replace(GRADUAL, teacher="my runs/it's.safetensors", learning_rate=3e-4)
    words = shlex.split(request.command())[2:]
    given = {
        name.removeprefix("--").replace("-", "_"): word for name, word in zip(words[::2], words[1::2], strict=True)
    }
    defaults = TrainRequest()
    assert (
        dataclasses.replace(defaults, **{name: type(getattr(defaults, name))(word) for name, word in given.items()})
        == request
    )


# ---- schedules ----


def test_learning_rate_by_hand():
    request = TrainRequest(epochs=4, warm_up=2, learning_rate=1.0, last_rate=0.1)
    rates = [learning_rate(request, step, 5) for step in range(20)]
    assert rates[0] == pytest.approx(0.1)  # a tenth of the warm-up, cosine still 1
    assert rates[9] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 9 / 20)))
    assert rates[10] == pytest.approx(0.55)  # half way, warm
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.1 < rates[19] < 0.11


def test_sparsity_rises_along_a_cubic_between_a_fifth_and_seven_tenths():
    request = TrainRequest(epochs=10, sparsity=0.9)
    found = {step: sparsity_at(request, step, 80) for step in range(800)}
    asked = {step: value for step, value in found.items() if value is not None}
    assert set(asked) == {*range(170, 800, 10), 799}  # eight times an epoch, from the first step past 160; the last
    assert asked[360] == pytest.approx(0.9 * (1 - 0.5**3))
    assert asked[560] == asked[790] == pytest.approx(0.9)
    assert list(asked.values()) == sorted(asked.values())
    assert sparsity_at(TrainRequest(epochs=10), 360, 80) is None


@pytest.mark.parametrize("epochs", range(1, 8))
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 9, 16, 100])
def test_the_last_step_of_any_round_has_the_sparsity_asked_for(epochs, steps):
    request = TrainRequest(epochs=epochs, sparsity=0.9)
    found = [sparsity_at(request, step, steps) for step in range(epochs * steps)]
    assert found[-1] == 0.9
    # Where there are steps enough, it is reached before: the last step then removes nothing more.
    assert steps < 8 or 0.9 in found[:-1]
    asked = [value for value in found if value is not None]
    assert asked == sorted(asked)


def test_a_round_of_a_single_step_is_pruned(tmp_path):
    ticket = load_ticket(train(dataclasses.replace(GRADUAL, epochs=1, batch=64), tmp_path))
    assert ticket.zeros == int(0.8 * ticket.prunable)


def test_mixup_ends_after_two_thirds():
    request = TrainRequest(epochs=300, mixup=0.5)
    assert [mixes(request, epoch) for epoch in (0, 199, 200, 299)] == [True, True, False, False]
    assert not mixes(TrainRequest(epochs=300), 0)


# ---- losses ----


def test_distillation_is_the_divergence_from_the_teacher():
    student, teacher = torch.randn(5, 3, generator=torch.manual_seed(1)), torch.randn(5, 3)
    p, q = teacher.softmax(1).double(), student.softmax(1).double()
    by_hand = sum(float(p[i, c] * (p[i, c] / q[i, c]).log()) for i in range(5) for c in range(3)) / 5
    assert float(distillation_loss(student, teacher)) == pytest.approx(by_hand, rel=1e-5)
    assert float(distillation_loss(teacher, teacher)) == pytest.approx(0, abs=1e-6)


def test_a_mixed_batch_is_scored_by_both_its_labels():
    """Equal to cross-entropy with the mixed, smoothed distributions as targets."""
    logits, labels = torch.randn(4, 3, generator=torch.manual_seed(2)), torch.tensor([0, 2, 1, 1])
    smooth = torch.eye(3)[labels] * 0.9 + 0.1 / 3
    target = 0.3 * smooth + 0.7 * smooth.flip(0)
    by_hand = -(target * logits.log_softmax(1)).sum(1).mean()
    assert float(classification_loss(logits, labels, 0.1, share=0.3)) == pytest.approx(float(by_hand), rel=1e-5)


def test_mixing_is_with_the_reversed_batch():
    torch.manual_seed(0)
    images = torch.arange(3.0).reshape(3, 1, 1, 1)
    batch, share = mixed(images, 0.5)
    assert 0 < share < 1
    assert batch.flatten().tolist() == pytest.approx([2 * (1 - share), 1.0, 2 * share])


def test_the_teacher_is_frozen_and_forgets_every_batch():
    """Same images, same logits, whatever came before; and no gradient or statistic of it moves."""
    torch.manual_seed(0)
    teacher = Spikformer(TINY.config(DATA)).requires_grad_(False).eval()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    images = torch.rand(4, 1, 4, 4)
    first = taught(teacher, images)
    taught(teacher, torch.rand(4, 1, 4, 4))
    assert torch.equal(taught(teacher, images), first)
    assert not first.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


# ---- gradual pruning ----


def test_pruning_to_a_sparsity_is_exact_and_never_undone():
    torch.manual_seed(0)
    weights = prunable(Spikformer(TINY.config(DATA)))
    masks = full_masks(Spikformer(TINY.config(DATA)))
    total = survivors(masks)[1]
    for sparsity, gone in ((0.3, 0.3), (0.9, 0.9), (0.5, 0.9)):
        before, masks = masks, prune_to(weights, masks, sparsity)
        assert survivors(masks)[0] == total - int(gone * total)
        assert not any((masks[name] & ~before[name]).any() for name in masks)


def test_gradual_pruning_reaches_its_sparsity_and_no_weight_comes_back(tmp_path, monkeypatch):
    gone: list[set[tuple[str, int]]] = []
    prune = loop.prune_to

    def watched(weights, masks, sparsity):
        found = prune(weights, masks, sparsity)
        gone.append(
            {(name, index) for name, mask in found.items() for index in (~mask).flatten().nonzero().flatten().tolist()}
        )
        zero = {
            (name, index)
            for name, weight in weights.items()
            if name in masks
            for index in (weight == 0).flatten().nonzero().flatten().tolist()
        }
        assert len(gone) < 2 or gone[-2] <= zero  # still exactly 0, many optimiser steps later
        return found

    monkeypatch.setattr(loop, "prune_to", watched)
    ticket = load_ticket(train(GRADUAL, tmp_path))
    assert ticket.zeros == int(0.8 * ticket.prunable)
    assert len(gone) > 5
    assert all(early <= late for early, late in itertools.pairwise(gone))


@pytest.mark.parametrize("stop", [2, 4])
def test_resume_equals_an_unbroken_run_with_everything_on(tmp_path, monkeypatch, stop):
    """Gradual pruning, mixup, augmentation, bfloat16 products and a teacher."""
    teacher = train(dataclasses.replace(TINY, keep=1.0, epochs=2), tmp_path / "teacher")
    request = dataclasses.replace(GRADUAL, teacher=str(teacher), precision="bfloat16")
    train(request, tmp_path / "whole")
    epoch, calls = loop._train_epoch, []

    def interrupted(run, advance):
        calls.append(run.epoch)
        if len(calls) == stop + 1:
            epoch(run, advance)
            raise KeyboardInterrupt
        return epoch(run, advance)

    monkeypatch.setattr(loop, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(request, tmp_path / "broken")
    torch.manual_seed(stop)
    train(request, tmp_path / "broken")
    for name in ("ticket.safetensors", "history.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


# ---- teachers and starts ----


def test_a_teacher_changes_what_is_learned_and_is_named(tmp_path):
    teacher = train(dataclasses.replace(TINY, keep=1.0), tmp_path / "teacher")
    alone = load_ticket(train(TINY, tmp_path / "alone"))
    with_teacher = load_ticket(train(dataclasses.replace(TINY, teacher=str(teacher)), tmp_path / "taught"))
    assert with_teacher.provenance["teacher_sha256"] == load_ticket(teacher).sha256
    assert f"--teacher {teacher}" in with_teacher.provenance["command"]
    assert not np.array_equal(alone.parameters["head.weight"], with_teacher.parameters["head.weight"])


def test_a_start_gives_its_weights_and_keeps_its_masks(tmp_path):
    pruned = load_ticket(train(dataclasses.replace(TINY, keep=1.0, rounds=1, prune=0.5), tmp_path / "start"))
    request = dataclasses.replace(TINY, start=str(tmp_path / "start" / "ticket.safetensors"), learning_rate=1e-9)
    found = load_ticket(train(request, tmp_path / "on"))
    for name, mask in pruned.masks.items():
        assert np.array_equal(found.masks[name], mask)
        assert np.allclose(found.parameters[name], pruned.parameters[name], atol=1e-6)
    selectors = [name for name in found.masks if name not in pruned.masks]
    assert selectors == ["predictor.0.linear.0.weight", "predictor.0.linear.2.weight"]
    assert all(found.masks[name].all() for name in selectors)


def test_another_network_cannot_be_begun_with(tmp_path):
    train(TINY, tmp_path / "start")
    request = dataclasses.replace(TINY, width=16, start=str(tmp_path / "start" / "ticket.safetensors"))
    with pytest.raises(UserError, match=r"its network is another: .* \(4, 1, 3, 3\), here \(8, 1, 3, 3\)"):
        train(request, tmp_path / "on")


@pytest.mark.parametrize(
    ("trained", "here", "message"),
    [
        ({"heads": 4}, {}, "heads = 4, here 2"),
        ({"sps_pools": (True, False)}, {}, r"sps_pools = \(True, False\), here \(False, False\)"),
        ({"attention_scale": 0.25}, {}, "attention_scale = 0.25, here 0.125"),
        ({"activation": "gelu"}, {}, "activation = gelu, here relu"),
        ({"activation": "gelu"}, {"selector": "rate"}, "its network is another: predictor"),
        ({"activation": "gelu", "keep": 1.0}, {}, ""),  # there is no selector
        ({"activation": "gelu", "selector": "rate"}, {}, ""),
        ({"timesteps": 2, "keep": 0.5}, {}, ""),
        ({"neuron": "relu", "timesteps": 1}, {}, ""),
    ],
)
def test_a_network_of_the_same_shapes_is_begun_with_where_it_computes_the_same(trained, here, message):
    config = TINY.config(DATA)
    model = Spikformer(dataclasses.replace(config, **here))
    there = dataclasses.replace(config, **trained)
    parameters = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(there).items()}
    official = Official(there, parameters, "")
    if message:
        with pytest.raises(UserError, match=message):
            begin_with(model, Path("it.pth"), official)
    else:
        begin_with(model, Path("it.pth"), official)
        assert not model.head.weight.any()


def test_a_teacher_of_other_images_is_refused(tmp_path):
    with pytest.raises(UserError, match="a teacher with image_size = 8; the student has 4"):
        train(dataclasses.replace(TINY, teacher="digits-dense"), tmp_path)


def test_a_teacher_that_has_changed_since_is_refused(tmp_path):
    teacher = train(dataclasses.replace(TINY, keep=1.0), tmp_path / "teacher")
    request = dataclasses.replace(TINY, teacher=str(teacher))
    train(request, tmp_path / "run")
    teacher.write_bytes(train(dataclasses.replace(TINY, keep=1.0, seed=1), tmp_path / "other").read_bytes())
    with pytest.raises(UserError, match="holds a training with another file as teacher"):
        train(request, tmp_path / "run")


def test_an_unknown_teacher_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match="no ticket 'digits-dens'; did you mean 'digits-dense'"):
        train(dataclasses.replace(TINY, teacher="digits-dens"), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="device 'cuda': torch finds no such device here"):
        train(dataclasses.replace(TINY, device="cuda"), tmp_path)
