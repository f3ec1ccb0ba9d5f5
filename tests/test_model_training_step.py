"""What a training step, an epoch and the end of a round do, held against the same thing worked out here."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from sparsespike.model import selector
from sparsespike.model import train as loop
from sparsespike.model.calibrate import calibrate
from sparsespike.model.data import DATA_SETS, Augmentation, shifted
from sparsespike.model.neuron import LIF
from sparsespike.model.pruning import full_masks
from sparsespike.model.request import TrainRequest
from sparsespike.model.schedule import learning_rate
from sparsespike.model.settle import settle_norms
from sparsespike.model.spikformer import Norm, Spikformer
from sparsespike.model.ticket import load_ticket
from sparsespike.model.train import train
from tiny_images import tiny
from torch import nn

TINY = TrainRequest(data="tiny", keep=0.6, epochs=3, rewind=2, batch=8, width=8, depth=3, heads=2)
STEPS = 5  # of an epoch: 40 images
DATA = tiny(40, Augmentation(shift=1, flip=True))


@pytest.fixture(autouse=True)
def _register(monkeypatch):
    monkeypatch.setitem(DATA_SETS, "tiny", lambda folder: DATA)


def loud(request: TrainRequest, seed: int) -> Spikformer:
    """An untrained network whose logits are far from equal."""
    torch.manual_seed(seed)
    model = Spikformer(request.config(DATA))
    with torch.no_grad():
        model.head.weight.mul_(100)
    return model


def run_of(request: TrainRequest, teacher: Spikformer | None = None, epoch: int = 0) -> loop._Run:
    """A training as it stands before a step."""
    model = loud(request, 0).train()
    optimiser = loop._optimiser(model, request)
    return loop._Run(request, DATA, model, teacher, optimiser, full_masks(model), {}, {}, epoch=epoch)


class _StopError(Exception):
    """Ends a training where a test has seen enough."""


def states(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def spy(monkeypatch, name, before=lambda *_: None, after=lambda *_: None):
    """Let `before` and `after` see every call of a function of the loop."""
    original = getattr(loop, name)

    def watched(*arguments):
        before(*arguments)
        result = original(*arguments)
        after(*arguments)
        return result

    monkeypatch.setattr(loop, name, watched)


# ---- the loss ----


@pytest.mark.parametrize("epoch", [0, 1, 2])
@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_the_loss_is_cross_entropy_and_twice_the_ratio_and_half_the_divergence(mixup, epoch):
    """Of three epochs the first two mix."""
    request = dataclasses.replace(TINY, mixup=mixup, smoothing=0.2)
    teacher = loud(dataclasses.replace(request, keep=1.0), 1).eval().requires_grad_(False)
    run = run_of(request, teacher, epoch)
    images, labels = torch.from_numpy(DATA.train.images[:8]), torch.from_numpy(DATA.train.labels[:8])
    torch.manual_seed(7)
    found = float(loop._loss(run, images, labels).detach())

    torch.manual_seed(7)  # the same share of the mix and the same tokens drawn
    share = 1.0
    if mixup and epoch < 2:
        share = float(torch.distributions.Beta(mixup, mixup).sample())
        assert 0.02 < share < 0.98
    seen = share * images + (1 - share) * images.flip(0)
    logits, masks = run.model(seen)
    smooth = 0.8 * torch.eye(3)[labels] + 0.2 / 3
    target = share * smooth + (1 - share) * smooth.flip(0)
    entropy = -(target * logits.log_softmax(1)).sum(1).mean()
    kept = [mask.mean(1) for mask in masks]
    ratio = (((kept[0] - 0.6) ** 2).mean() + ((kept[1] - 0.36) ** 2).mean()) / 2
    p = teacher(seen).logits.softmax(1)
    divergence = (p * (p.log() - logits.log_softmax(1))).sum(1).mean()
    assert min(entropy, ratio, divergence) > 0.003  # so that none of them can be missing
    assert found == pytest.approx((entropy + 2.0 * ratio + 0.5 * divergence).item(), rel=1e-5)


def test_bfloat16_is_for_products_and_currents_and_float32_for_potentials_and_weights():
    run = run_of(dataclasses.replace(TINY, precision="bfloat16"))
    products, currents, potentials = [], [], []
    for module in run.model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda _module, _inputs, output: products.append(output.dtype))
        elif isinstance(module, Norm):
            module.register_forward_hook(lambda _module, _inputs, output: currents.append(output.dtype))
        elif isinstance(module, LIF):
            module.register_forward_hook(lambda _module, _inputs, output: potentials.append(_charged(output).dtype))
    loss = loop._loss(run, torch.from_numpy(DATA.train.images[:8]), torch.from_numpy(DATA.train.labels[:8]))
    loss.backward()
    assert len(products) > 20
    assert len(potentials) == 3 + 3 * 7
    assert set(products) == set(currents) == {torch.bfloat16}
    assert set(potentials) == {torch.float32}
    kept = [loss, *run.model.parameters(), *(weight.grad for weight in run.model.parameters())]
    kept += [norm.running_var for norm in run.model.modules() if isinstance(norm, Norm)]
    assert {tensor.dtype for tensor in kept} == {torch.float32}


def _charged(spikes: torch.Tensor) -> torch.Tensor:
    """The potentials that a LIF's backward pass goes by; behind it there may be a change of type."""
    node = spikes.grad_fn
    return (node if hasattr(node, "saved_tensors") else node.next_functions[0][0]).saved_tensors[0]


def test_float32_is_float32_everywhere():
    run = run_of(TINY)
    found = []
    for module in run.model.modules():
        module.register_forward_hook(lambda _module, _inputs, output: found.append(getattr(output, "dtype", None)))
    loop._loss(run, torch.from_numpy(DATA.train.images[:8]), torch.from_numpy(DATA.train.labels[:8]))
    assert set(found) == {torch.float32, None}  # the network itself gives a tuple


# ---- the optimiser ----


def test_weights_decay_and_norms_and_biases_do_not():
    run = run_of(dataclasses.replace(TINY, weight_decay=0.03))
    decay = {id(weight): group["weight_decay"] for group in run.optimiser.param_groups for weight in group["params"]}
    named = dict(run.model.named_parameters())
    assert {name: decay.pop(id(weight)) for name, weight in named.items()} == {
        name: 0.0 if "_bn" in name or name.endswith("bias") else 0.03 for name in named
    }
    assert not decay


def test_every_step_has_the_rate_of_the_schedule(tmp_path, monkeypatch):
    rates, make = [], loop._optimiser

    def watched(model, request):
        optimiser = make(model, request)
        optimiser.register_step_post_hook(lambda it, *_: rates.append([group["lr"] for group in it.param_groups]))
        return optimiser

    monkeypatch.setattr(loop, "_optimiser", watched)
    request = dataclasses.replace(TINY, rounds=1, warm_up=2)
    train(request, tmp_path)
    one_round = [[learning_rate(request, step, STEPS)] * 2 for step in range(3 * STEPS)]
    assert rates == one_round * 2
    assert len({rate for rate, _ in rates}) > 10


def test_a_round_begins_with_the_early_weights_of_the_survivors_and_an_empty_optimiser(tmp_path, monkeypatch):
    ends, starts = [], []

    def before(run, _advance):
        starts.append((states(run.model), dict(run.masks), len(run.optimiser.state), run.round, run.epoch))

    spy(monkeypatch, "_train_epoch", before, lambda run, _advance: ends.append(states(run.model)))
    train(dataclasses.replace(TINY, rounds=2), tmp_path)
    early = ends[1]  # epoch 2 of round 0
    for first in (3, 6):
        found, masks, optimised, number, epoch = starts[first]
        assert (number, epoch, optimised) == (first // 3, 0, 0)
        assert starts[first + 1][2] > 0
        parameters = [name for name, _ in Spikformer(TINY.config(DATA)).named_parameters()]
        for name in parameters:
            expected = early[name] * masks[name] if name in masks else early[name]
            assert torch.equal(found[name], expected), name
        assert any(not torch.equal(early[name], ends[first - 1][name]) for name in parameters)
        statistics = [name for name in found if "running_" in name]  # are not rewound
        assert all(torch.equal(found[name], ends[first - 1][name]) for name in statistics)
    gone = [sum(int((~mask).sum()) for mask in starts[first][1].values()) for first in (0, 3, 6)]
    assert gone[0] == 0 < gone[1] < gone[2]


# ---- images ----


def test_every_image_is_an_augmented_one_with_its_own_label(tmp_path, monkeypatch):
    seen = []
    spy(monkeypatch, "_loss", lambda run, images, labels: seen.append((images.numpy().copy(), labels.numpy())))
    train(dataclasses.replace(TINY, rewind=0, epochs=1), tmp_path)
    images, labels = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    assert len(images) == 40
    moves = np.array(list(itertools.product((-1, 0, 1), repeat=2)))
    moved = [shifted(DATA.train.images, np.repeat(move[None], 40, 0)) for move in moves]
    known = np.stack([*moved, *(image[..., ::-1] for image in moved)])  # [move, image, ...]
    same = (images[:, None, None] == known[None]).all((3, 4, 5)).any(1)  # [seen, image]
    assert same.any(1).all()
    assert (DATA.train.labels[same.argmax(1)] == labels).all()
    assert sorted(same.argmax(1).tolist()) == list(range(40))  # each once in an epoch
    raw = (images[:, None] == DATA.train.images[None]).all((2, 3, 4)).any(1)
    assert raw.mean() < 0.4  # by chance one in 18 neither moves nor turns


def test_validation_is_scored_on_its_own_split_and_the_test_on_its(tmp_path, monkeypatch):
    scores = {id(DATA.train): 0.75, id(DATA.validation): 0.25, id(DATA.test): 0.5}
    monkeypatch.setattr(loop, "float_accuracy", lambda _model, split: scores[id(split)])
    monkeypatch.setattr(loop, "integer_accuracy", lambda _ticket, split: scores[id(split)] / 4)
    record = load_ticket(train(TINY, tmp_path)).provenance
    assert '"validation": 0.25' in (tmp_path / "history.json").read_text()
    assert "0.75" not in (tmp_path / "history.json").read_text()
    assert record["float_validation_accuracy"] == "0.2500"
    assert record["float_test_accuracy"] == "0.5000"
    assert record["integer_test_accuracy"] == "0.1250"


# ---- teacher and start ----


def test_the_teacher_stays_in_evaluation_mode_and_as_it_was(tmp_path, monkeypatch):
    path = train(dataclasses.replace(TINY, keep=1.0), tmp_path / "teacher")
    modes, teachers = [], []

    def before(run, _images, _labels):
        if not teachers:
            teachers.append((run.teacher, states(run.teacher)))
            run.teacher.register_forward_pre_hook(lambda module, _inputs: modes.append(module.training))

    spy(monkeypatch, "_loss", before)
    train(dataclasses.replace(TINY, teacher=str(path)), tmp_path / "taught")
    assert modes == [False] * (3 * STEPS)
    teacher, state = teachers[0]
    assert all(torch.equal(tensor, state[name]) for name, tensor in teacher.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_start_gives_weights_biases_norms_and_statistics(tmp_path, monkeypatch):
    path = train(dataclasses.replace(TINY, keep=1.0), tmp_path / "start")

    def before(run, _advance):
        found.update(states(run.model))
        raise _StopError

    found: dict[str, torch.Tensor] = {}
    spy(monkeypatch, "_train_epoch", before)
    with pytest.raises(_StopError):
        train(dataclasses.replace(TINY, start=str(path)), tmp_path / "on")
    parameters = load_ticket(path).parameters
    assert {name for name in found if "num_batches" not in name and "predictor" not in name} == set(parameters)
    for name, array in parameters.items():
        assert np.array_equal(found[name].numpy(), array), name
    assert not np.array_equal(parameters["patch_embed.rpe_bn.running_var"], np.ones(8, np.float32))
    assert parameters["block.0.attn.q_linear.bias"].any()


# ---- the end of a round ----


@pytest.mark.parametrize("neuron", ["lif", "relu"])
def test_a_ticket_is_calibrated_on_all_training_images(tmp_path, neuron):
    request = dataclasses.replace(TINY, neuron=neuron, timesteps=4 if neuron == "lif" else 1)
    ticket = load_ticket(train(request, tmp_path))
    assert ticket.calibration == calibrate(ticket.network(), DATA.train.images)
    assert ticket.calibration != calibrate(ticket.network(), DATA.train.images[:1])


def test_a_twins_statistics_are_settled_and_a_spiking_networks_are_not(tmp_path):
    """Settling once more changes nothing where it has been done, but for the order of sums in other threads."""
    for neuron, timesteps in (("relu", 1), ("lif", 4)):
        ticket = load_ticket(train(dataclasses.replace(TINY, neuron=neuron, timesteps=timesteps), tmp_path / neuron))
        network = ticket.network()
        settle_norms(network, DATA.train.images)
        same = [
            np.allclose(tensor.numpy(), ticket.parameters[name], rtol=1e-4, atol=1e-6)
            for name, tensor in network.state_dict().items()
            if "running_" in name
        ]
        assert all(same) if neuron == "relu" else sum(same) < len(same) / 4


def test_the_end_of_a_round_says_what_goes_on(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(loop._Bar, "doing", lambda _self, what: said.append(what))
    train(dataclasses.replace(TINY, rounds=1), tmp_path)
    assert said == [f"round {number}: {what}" for number in (0, 1) for what in ("training", "calibrating", "testing")]


def test_a_random_selector_draws_in_float32_while_training_in_bfloat16(monkeypatch):
    """In bfloat16 sixteen draws in [0, 1) often tie, and a tie goes to the lower token."""
    scores = []
    original = selector.keep_best
    monkeypatch.setattr(selector, "keep_best", lambda score, *rest: scores.append(score) or original(score, *rest))
    run = run_of(dataclasses.replace(TINY, precision="bfloat16", selector="random"))
    loop._loss(run, torch.from_numpy(DATA.train.images[:32]), torch.from_numpy(DATA.train.labels[:32]))
    assert len(scores) == 2
    for score in scores:
        assert score.dtype == torch.float32
        assert len(score.unique()) == score.numel() == 32 * 16
