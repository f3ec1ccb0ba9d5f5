"""Whether a saved training state is whole: each of its parts as the run that goes on from it would have saved it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import listed, oddity
from .pruning import Masks
from .request import TrainRequest

PLAIN = ("masks", "early", "round", "epoch", "history", "seconds", "given")  # saved as they are in the run
PARTS = frozenset({"request", "model", "optimiser", "random", "device_random", *PLAIN})
_LINE = {"round", "epoch", "loss", "validation"}  # of the history


def faults_of_kind(state: Mapping[str, Any]) -> list[str]:
    """What keeps a state from being asked whose training it is: parts that are missing, a request that is none."""
    missing = sorted(PARTS - set(state))
    found = [f"{listed(missing)} missing"] if missing else []
    for name, types in (("request", (str, int, float)), ("given", (str,))):
        part = state.get(name, {})
        if not isinstance(part, Mapping) or not all(isinstance(value, types) for value in part.values()):
            found.append(f"{name} is no table of {'plain values' if name == 'request' else 'checksums'}")
    return found


def faults(
    state: Mapping[str, Any], request: TrainRequest, model: nn.Module, optimiser: torch.optim.Optimizer, masks: Masks
) -> list[str]:
    """In what a state of this request differs in form from what its run saves; [] where it can be gone on with.

    state: with all `PARTS`.  model, optimiser, masks: those of a fresh run, which say what has which shape.
    """
    place = [
        f"{name} is no whole number from 0 to {last}"
        for name, last in (("round", request.rounds), ("epoch", request.epochs))
        if type(state[name]) is not int or not 0 <= state[name] <= last
    ]
    if place:  # what must be there depends on it
        return place
    rewound = state["round"] > 0 or state["epoch"] >= max(1, request.rewind)  # the early weights have been put aside
    early = dict(model.named_parameters()) if rewound else {}
    generators = {"random": torch.get_rng_state()}
    if request.device == "cuda":
        generators["device_random"] = torch.cuda.get_rng_state()
    return [
        *_tensor_faults("model", state["model"], model.state_dict()),
        *_tensor_faults("masks", state["masks"], masks),
        *_tensor_faults("early", state["early"], early),
        *_tensor_faults("state", {name: state[name] for name in generators}, generators),
        *_optimiser_faults(state["optimiser"], optimiser, state["epoch"]),
        *_history_faults(state["history"], state["round"], state["epoch"], request.epochs),
        *([] if _is_number(state["seconds"]) else ["seconds is no number"]),
    ]


def _tensor_faults(part: str, found: Any, like: Mapping[str, Tensor]) -> Iterator[str]:
    """What is missing, unknown, or of another shape or type than in `like`."""
    if not isinstance(found, Mapping):
        yield f"{part} is no table of tensors"
        return
    for what, names in (("missing", set(like) - set(found)), ("unknown", set(found) - set(like))):
        if names:
            yield f"{part}: {listed(sorted(map(repr, names)), 3)} {what}"
    for name, wanted in like.items():
        tensor = found.get(name, wanted)
        if not isinstance(tensor, Tensor):
            yield f"{part}: {name!r} is no tensor"
        elif tensor is not wanted and oddity(tensor):
            yield f"{part}: {name!r} is {oddity(tensor)}"
        elif (tensor.shape, tensor.dtype) != (wanted.shape, wanted.dtype):
            yield f"{part}: {name!r} is {_form(tensor)}, not {_form(wanted)}"


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _optimiser_faults(found: Any, optimiser: torch.optim.Optimizer, epoch: int) -> Iterator[str]:
    """AdamW's moments by parameter; a round begins without any. Its groups follow from the request."""
    moments = found.get("state") if isinstance(found, Mapping) else None
    if not isinstance(moments, Mapping):
        yield "optimiser holds no moments by parameter"
        return
    if bool(moments) != bool(epoch):
        yield f"optimiser: moments of {len(moments)} parameters after {epoch} epochs of the round"
    weights = dict(enumerate(weight for group in optimiser.param_groups for weight in group["params"]))
    for index, entry in moments.items():
        if index not in weights:
            yield f"optimiser: parameter {index!r} is unknown"
            continue
        like = {"step": torch.tensor(0.0), "exp_avg": weights[index], "exp_avg_sq": weights[index]}
        yield from _tensor_faults(f"optimiser: parameter {index}", entry, like)


def _history_faults(history: Any, done: int, epoch: int, epochs: int) -> Iterator[str]:
    """One line per epoch, in order. done: rounds that are over."""
    if not isinstance(history, list) or not all(_is_line(line) for line in history):
        yield f"history is no list of {', '.join(sorted(_LINE))} by epoch"
        return
    places = [(place // epochs, place % epochs + 1) for place in range(done * epochs + epoch)]
    if [(line["round"], line["epoch"]) for line in history] != places:
        yield f"history has {len(history)} lines, not one per epoch up to round {done}, epoch {epoch}"


def _is_line(line: Any) -> bool:
    return isinstance(line, Mapping) and set(line) == _LINE and all(_is_number(value) for value in line.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
