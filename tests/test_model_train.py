"""Data splits and the training loop: what it leaves behind, and that an interruption changes nothing."""

import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest
import torch
from sparsespike.model import train as loop
from sparsespike.model.checkpoint import load_checkpoint, save_checkpoint
from sparsespike.model.data import DATA_SETS, Augmentation, load_data, shifted, stratified_split
from sparsespike.model.evaluate import evaluate
from sparsespike.model.request import TrainRequest
from sparsespike.model.ticket import load_ticket
from sparsespike.model.train import train
from sparsespike.simulator.errors import UserError
from tiny_images import tiny

TINY = TrainRequest(data="tiny", rounds=2, prune=0.5, keep=0.6, epochs=2, rewind=1, batch=8, width=8, depth=2, heads=2)
DATA = tiny(30, Augmentation())


@pytest.fixture(autouse=True)
def _register(monkeypatch):
    monkeypatch.setitem(DATA_SETS, "tiny", lambda folder: DATA)


def test_digits_split_is_fixed_disjoint_and_stratified():
    data = load_data("digits")
    parts = (data.train, data.validation, data.test)
    assert [len(part.labels) for part in parts] == [1295, 143, 359]
    ids = np.concatenate([part.ids for part in parts])
    assert sorted(ids.tolist()) == list(range(1797))
    digest = hashlib.sha256(ids.tobytes()).hexdigest()
    assert digest == "b5261a25ad8601a80be7ac2a94e33e6173660c7b067467ffc5dbd7269a09abde"
    share = np.bincount(data.test.labels) / np.bincount(np.concatenate([part.labels for part in parts]))
    assert 0.19 < share.min() <= share.max() < 0.21
    assert data.train.images.shape[1:] == (1, 8, 8)
    assert (data.train.images.min(), data.train.images.max()) == (0.0, 1.0)


def test_stratified_split_takes_the_share_of_each_class():
    labels = np.repeat(np.arange(3), (10, 20, 30))
    aside = stratified_split(labels, 0.2, 0)
    assert np.bincount(labels[aside]).tolist() == [2, 4, 6]
    assert not np.array_equal(aside, stratified_split(labels, 0.2, 1))


def test_unknown_data_set_names_the_nearest():
    with pytest.raises(UserError, match="unknown data set 'digit'; did you mean 'digits'"):
        load_data("digit")


def test_shifts_by_hand():
    image = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
    moved = shifted(np.repeat(image, 3, 0), np.array([[0, 0], [1, 0], [0, -1]]))
    assert moved[:, 0].tolist() == [[[1, 2], [3, 4]], [[0, 0], [1, 2]], [[2, 0], [4, 0]]]


def test_training_leaves_a_ticket_per_round_and_learns(tmp_path):
    before = torch.get_rng_state(), torch.get_num_threads()
    path = train(dataclasses.replace(TINY, epochs=10), tmp_path)
    tickets = [load_ticket(tmp_path / f"round_{index}.safetensors") for index in range(3)]
    sizes = [ticket.prunable - ticket.zeros for ticket in tickets]
    assert sizes[0] == tickets[0].prunable
    assert [sizes[1], sizes[2]] == [sizes[0] - sizes[0] // 2, sizes[1] - sizes[1] // 2]
    assert load_ticket(path).sha256 == tickets[2].sha256
    assert tickets[2].kept_tokens == (16, 9)
    record = tickets[2].provenance
    assert record["command"].startswith(
        "sparsespike train --data tiny --seed 0 --rounds 2 --prune 0.5 --sparsity 0.0 --keep 0.6"
    )
    accuracy = evaluate(path, "tiny")
    assert accuracy.images == 12
    assert f"{accuracy.float_:.4f}" == record["float_test_accuracy"]
    assert f"{accuracy.integer:.4f}" == record["integer_test_accuracy"]
    assert accuracy.float_ > 0.6
    history = json.loads((tmp_path / "history.json").read_text())
    assert [(entry["round"], entry["epoch"]) for entry in history[-2:]] == [(2, 9), (2, 10)]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


@pytest.mark.parametrize("selector", ["learned", "random"])
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_resume_after_a_kill_gives_the_same_tickets(tmp_path, monkeypatch, stop, selector):
    request = dataclasses.replace(TINY, selector=selector)
    train(request, tmp_path / "whole")
    epoch, calls = loop._train_epoch, []

    def interrupted(run, advance):
        calls.append(run.epoch)
        if len(calls) == stop + 1:
            epoch(run, advance)  # the epoch's work is lost with the process
            raise KeyboardInterrupt
        return epoch(run, advance)

    monkeypatch.setattr(loop, "_train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(request, tmp_path / "broken")
    torch.manual_seed(stop)  # whatever happens in between
    train(request, tmp_path / "broken")
    assert len(calls) == 7
    for name in ("round_0.safetensors", "round_2.safetensors", "ticket.safetensors", "history.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    whole, broken = (load_checkpoint(tmp_path / folder / "training.pt") for folder in ("whole", "broken"))
    plain = ("request", "given", "device_random", "round", "epoch")
    assert [whole[part] for part in plain] == [broken[part] for part in plain]
    for part in set(whole) - {*plain, "seconds"}:  # only the time it took is another
        torch.testing.assert_close(whole[part], broken[part], rtol=0, atol=0)
    assert not [path for path in (tmp_path / "broken").iterdir() if path.name.startswith(".")]


def test_a_finished_training_is_not_repeated_and_mends_its_ticket(tmp_path, monkeypatch):
    request = dataclasses.replace(TINY, rounds=0)
    content = train(request, tmp_path).read_bytes()
    (tmp_path / "ticket.safetensors").unlink()
    monkeypatch.setattr(loop, "_train_epoch", None)
    assert train(request, tmp_path).read_bytes() == content


def test_another_request_in_the_same_folder_is_refused(tmp_path):
    train(dataclasses.replace(TINY, rounds=0), tmp_path)
    with pytest.raises(UserError, match="holds a training with epochs 2, not 3; take another folder"):
        train(dataclasses.replace(TINY, rounds=0, epochs=3), tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        train(TINY, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": -1}, "rounds = -1: needs at least 0"),
        ({"prune": 1.0}, "prune = 1.0"),
        ({"rewind": 3}, "only 2 epochs"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"epochs": 0}, "epochs = 0"),
        ({"epochs": 1}, "rewind = 2: there is only 1 epoch in a round"),
        ({"warm_up": 3, "rounds": 0}, "warm_up = 3: there are only 2 epochs in a round"),
        ({"learning_rate": math.nan}, "learning_rate = nan: needs a finite number"),
        ({"weight_decay": math.inf}, "weight_decay = inf: needs a finite number"),
        ({"mixup": math.inf}, "mixup = inf: needs a finite number"),
        ({"last_rate": math.nan}, "last_rate = nan: needs a finite number"),
        ({"seed": 2**63}, "seed = 9223372036854775808: can be 9223372036854775807 at most"),
        ({"threads": 1025}, "threads = 1025: can be 1024 at most"),
    ],
)
def test_impossible_requests_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TINY, **({"rewind": 2} | change))


def test_a_single_round_may_be_shorter_than_the_epoch_to_rewind_to():
    assert TrainRequest(epochs=1).rewind == 2


@pytest.mark.parametrize("width", [-4, 0, 1])
def test_a_width_without_channels_names_the_width(tmp_path, width):
    with pytest.raises(UserError, match=f"width = {width}: tiny needs at least 2"):
        train(dataclasses.replace(TINY, width=width), tmp_path)


@pytest.mark.parametrize("part", ["images", "labels", "ids"])
@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_data_that_has_changed_since_is_refused(tmp_path, monkeypatch, name, part):
    request = dataclasses.replace(TINY, rounds=0, epochs=1, rewind=0)
    train(request, tmp_path)
    dataset = tiny(30, Augmentation())
    array = getattr(getattr(dataset, name), part)
    array[3] = array[3] + 1
    monkeypatch.setitem(DATA_SETS, "tiny", lambda _: dataset)
    with pytest.raises(UserError, match="holds a training with another file as data; take another folder"):
        train(request, tmp_path)


def test_the_data_checksum_is_in_the_state_and_not_in_the_ticket(tmp_path):
    ticket = load_ticket(train(dataclasses.replace(TINY, rounds=0), tmp_path))
    state = load_checkpoint(tmp_path / "training.pt")
    assert len(state["given"]["data"]) == 64
    assert not [key for key in ticket.provenance if "sha256" in key]
    state["given"]["data"] = state["given"]["data"][::-1]
    save_checkpoint(state, tmp_path / "training.pt")
    with pytest.raises(UserError, match="holds a training with another file as data"):
        train(dataclasses.replace(TINY, rounds=0), tmp_path)


@pytest.mark.parametrize("where", ["loss", "last update"])
def test_a_training_that_diverges_ends_with_a_sentence_and_keeps_the_state_before(tmp_path, monkeypatch, where):
    request = dataclasses.replace(TINY, rounds=0)
    epoch, loss = loop._train_epoch, loop._loss

    def train_epoch(run, advance):
        if run.epoch == 1 and where == "loss":
            monkeypatch.setattr(loop, "_loss", lambda *arguments: loss(*arguments) * math.nan)
        elif run.epoch == 1:
            run.optimiser.register_step_post_hook(lambda *_: run.model.head.bias.data.fill_(math.inf))
            monkeypatch.setattr(loop, "_loss", lambda run, *_: run.model.head.weight.square().sum())
        return epoch(run, advance)

    monkeypatch.setattr(loop, "_train_epoch", train_epoch)
    message = r"the loss is no number in round 0, epoch 2; lower --learning-rate \(now 0.005\), in another folder; the"
    with pytest.raises(UserError, match=message):
        train(request, tmp_path)
    assert load_checkpoint(tmp_path / "training.pt")["epoch"] == 1
    assert len(json.loads((tmp_path / "history.json").read_text())) == 1
    assert not (tmp_path / "ticket.safetensors").exists()


@pytest.mark.parametrize(("function", "call"), [("write_text", 2), ("save_checkpoint", 3)])
def test_a_kill_between_the_last_state_and_its_history_loses_and_doubles_no_line(tmp_path, monkeypatch, function, call):
    """At the history of the second epoch, and at its state, which is the third with that of the beginning."""
    request, write, calls = dataclasses.replace(TINY, rounds=0), getattr(loop, function), []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(loop, function, killed)
    with pytest.raises(KeyboardInterrupt):
        train(request, tmp_path)
    assert load_checkpoint(tmp_path / "training.pt")["epoch"] == 1
    train(request, tmp_path)
    assert [entry["epoch"] for entry in json.loads((tmp_path / "history.json").read_text())] == [1, 2]


def test_memory_that_does_not_suffice_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(loop, "_loss", full)
    with pytest.raises(UserError, match=r"device 'cpu': out of memory; lower --batch \(now 8\)"):
        train(TINY, tmp_path)


def test_float32_products_are_float32_while_training_and_settings_come_back(tmp_path, monkeypatch):
    seen, epoch = [], loop._train_epoch

    def settings():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def train_epoch(run, advance):
        seen.append(settings())
        return epoch(run, advance)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(loop, "_train_epoch", train_epoch)
    before = settings()
    train(dataclasses.replace(TINY, rounds=0), tmp_path)
    assert seen == [(False, False)] * 2
    assert settings() == before
    assert before[1]
