"""Training states: what a training saves is taken, what is damaged is named, what is gone is mended or missed."""

import dataclasses
import shutil

import pytest
import torch
from sparsespike.model import train as loop
from sparsespike.model.checkpoint import load_checkpoint, save_checkpoint
from sparsespike.model.data import DATA_SETS, Augmentation
from sparsespike.model.request import TrainRequest
from sparsespike.model.train import train
from sparsespike.model.training_state import faults, faults_of_kind
from sparsespike.simulator.errors import UserError
from tiny_images import tiny

TINY = TrainRequest(data="tiny", rounds=2, prune=0.5, keep=0.6, epochs=2, rewind=1, batch=8, width=8, depth=2, heads=2)
DATA = tiny(30, Augmentation())


@pytest.fixture(autouse=True)
def _register(monkeypatch):
    monkeypatch.setitem(DATA_SETS, "tiny", lambda folder: DATA)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished training of `TINY`, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATA_SETS, "tiny", lambda _: DATA)
        train(TINY, folder)
    return folder


def test_what_is_gone_from_a_finished_folder_is_written_again_or_missed(finished, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(loop, "_train_epoch", None)
    train(TINY, tmp_path)
    assert capsys.readouterr().err == ""
    gone = ("history.json", "round_1.safetensors", "round_2.safetensors")
    for name in gone:
        (tmp_path / name).unlink()
    train(TINY, tmp_path)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path}: round_1.safetensors missing; training.pt does not hold")
    assert said.count("\n") == 1
    assert [name for name in gone if not (tmp_path / name).exists()] == ["round_1.safetensors"]
    for name in ("history.json", "round_2.safetensors"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_a_checkpoint_that_is_no_training_is_refused(tmp_path):
    save_checkpoint({"request": {}}, tmp_path / "training.pt")
    with pytest.raises(
        UserError,
        match=r"not the state of a training, or damaged: device_random, .*, masks, .* missing; remove the file",
    ):
        train(TINY, tmp_path)


# what is done to a state that was saved after the last round -> what is said of it
DAMAGE = {
    "no model": (lambda s: s.update(model=None), "model is no table of tensors"),
    "a parameter missing": (lambda s: s["model"].pop("head.bias"), "model: 'head.bias' missing"),
    "a parameter unknown": (lambda s: s["model"].update(x=torch.ones(1)), "model: 'x' unknown"),
    "another shape": (
        lambda s: s["model"].update({"head.bias": torch.ones(1)}),
        r"model: 'head.bias' is float32\[1\], not float32",
    ),
    "another type": (
        lambda s: s["model"].update({"head.bias": s["model"]["head.bias"].double()}),
        "model: 'head.bias' is float64",
    ),
    "no numbers": (
        lambda s: s["model"].update({"head.bias": s["model"]["head.bias"].to("meta")}),
        "model: 'head.bias' is a shape without numbers",
    ),
    "no tensor": (lambda s: s["model"].update({"head.bias": 3}), "model: 'head.bias' is no tensor"),
    "an empty optimiser": (
        lambda s: s.update(optimiser={"state": {}, "param_groups": []}),
        "optimiser: moments of 0 parameters after 2 epochs",
    ),
    "no optimiser": (lambda s: s.update(optimiser=[]), "optimiser holds no moments"),
    "a moment missing": (
        lambda s: s["optimiser"]["state"][0].pop("exp_avg"),
        "optimiser: parameter 0: 'exp_avg' missing",
    ),
    "a moment's shape": (
        lambda s: s["optimiser"]["state"][1].update(exp_avg=torch.ones(2)),
        r"optimiser: parameter 1: 'exp_avg' is float32\[2\], not",
    ),
    "a parameter too many": (
        lambda s: s["optimiser"]["state"].update({999: {}}),
        "optimiser: parameter 999 is unknown",
    ),
    "no request": (lambda s: s.update(request=None), "request is no table"),
    "a tensor in the request": (lambda s: s["request"].update(seed=torch.ones(2)), "request is no table"),
    "no checksums": (lambda s: s.update(given=3), "given is no table"),
    "a generator's shape": (lambda s: s.update(random=torch.zeros(3)), r"state: 'random' is float32\[3\], not uint8"),
    "a generator's bytes": (lambda s: s["random"].fill_(0), "random: "),
    "masks missing": (lambda s: s.update(masks={}), "masks: 'block.* and \\d+ more missing"),
    "a mask of numbers": (
        lambda s: s["masks"].update({"head.weight": s["masks"]["head.weight"].float()}),
        "masks: 'head.weight' is float32",
    ),
    "a word as round": (lambda s: s.update(round="a"), "round is no whole number from 0 to 2"),
    "a round too far": (lambda s: s.update(round=3), "round is no whole number from 0 to 2"),
    "an epoch too far": (lambda s: s.update(epoch=-1), "epoch is no whole number from 0 to 2"),
    "early weights missing": (lambda s: s.update(early={}), "early: 'block.* and \\d+ more missing"),
    "no history": (lambda s: s.update(history=None), "history is no list"),
    "a line of another kind": (lambda s: s["history"].append({"x": 1}), "history is no list"),
    "a line missing": (lambda s: s["history"].pop(), "history has 5 lines, not one per epoch up to round 2, epoch 2"),
    "no time": (lambda s: s.update(seconds="long"), "seconds is no number"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_state_with_wrong_contents_is_refused_by_name(finished, tmp_path, name):
    change, message = DAMAGE[name]
    state = load_checkpoint(finished / "training.pt")
    change(state)
    save_checkpoint(state, tmp_path / "training.pt")
    with pytest.raises(UserError, match=rf"training.pt: .*or damaged: {message}.*; remove the file to start anew$"):
        train(TINY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["training.pt"]


SAVED = {
    "rewound to the beginning": {"rewind": 0},
    "rewound to the end": {"rewind": 2},
    "never rewound": {"rounds": 0, "rewind": 3},
    "pruned gradually": {"rounds": 0, "sparsity": 0.5},
    "without selectors": {"keep": 1.0},
    "random tokens": {"selector": "random"},
    "an ANN": {"neuron": "relu", "timesteps": 1},
    "half the bits": {"precision": "bfloat16"},
    "whole numbers": {"weight_decay": 0, "learning_rate": 1},
}


@pytest.mark.parametrize("name", SAVED)
def test_no_state_that_a_training_saves_is_called_damaged(tmp_path, monkeypatch, name):
    save, seen = loop._Run.save, []

    def checked(run, path):
        save(run, path)
        state = load_checkpoint(path)
        assert faults_of_kind(state) == []
        assert faults(state, run.request, run.model, run.optimiser, run.masks) == []
        seen.append((state["round"], state["epoch"]))

    monkeypatch.setattr(loop._Run, "save", checked)
    request = dataclasses.replace(TINY, **({"rounds": 1} | SAVED[name]))
    train(request, tmp_path)
    assert seen == [(part, epoch) for part in range(request.rounds + 1) for epoch in range(3)]
    train(request, tmp_path)


def test_all_faults_of_a_state_are_named_at_once(finished, tmp_path):
    state = load_checkpoint(finished / "training.pt") | {"seconds": None, "early": {}}
    state["model"].pop("head.bias")
    save_checkpoint(state, tmp_path / "training.pt")
    with pytest.raises(UserError, match=r"model: 'head.bias' missing, early: .*, seconds is no number; remove"):
        train(TINY, tmp_path)
