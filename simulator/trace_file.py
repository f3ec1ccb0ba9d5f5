"""A trace as a file's named arrays and JSON-able header, and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import UserError
from .trace import LAYER_KINDS, Events, HostWork, Membrane, Numerics, Requant, Stream, Trace, Weights, Window

# Fields that came later; left out at these values, so that other traces keep their checksums. The forms are those of
# attention and of pools.
_ABSENT: dict[str, Any] = {
    "neuron": "lif",
    "requant": None,
    "inner": None,
    "order": "",
    "table": None,
    "membrane": None,
    "reset_by": None,
    "form": ("product", "max"),
    "window": None,
    "pooled": None,
}

# What a file nests under a field of this name.
_NESTED = {
    "weights": Weights,
    "hidden": Weights,
    "events": Events,
    "requant": Requant,
    "inner": Requant,
    "membrane": Membrane,
    "window": Window,
    "pooled": Window,
}


def _stored(item: Any) -> dict[str, Any]:
    """The fields of a dataclass that a file holds."""
    fields = vars(item).items()
    return {key: value for key, value in fields if not (key in _ABSENT and _same(value, _ABSENT[key]))}


def _same(value: Any, absent: Any) -> bool:
    if isinstance(absent, tuple):
        return isinstance(value, str) and value in absent
    return not isinstance(value, np.ndarray) and bool(value == absent)


def flatten_trace(trace: Trace) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The trace as named arrays and a JSON-able header; `restore_trace` is the inverse."""
    tensors: dict[str, np.ndarray] = {}

    def put(prefix: str, item: Any) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, value in _stored(item).items():
            if isinstance(value, np.ndarray):
                tensors[f"{prefix}/{key}"] = value
            elif isinstance(value, tuple(_NESTED.values())):
                plain[key] = put(f"{prefix}/{key}", value)
            else:
                plain[key] = value
        return plain

    header = {
        "numerics": _stored(trace.numerics),
        "streams": [put(f"stream/{stream.name}", stream) for stream in trace.streams.values()],
        "layers": [
            {"kind": type(layer).__name__.lower()} | put(f"layer/{layer.name}", layer) for layer in trace.layers
        ],
        "images": trace.images,
        "selectors": len(trace.kept),
        "shadow": trace.shadow,
        "provenance": dict(trace.provenance),
    }
    if trace.level != "exact":
        header |= {"level": trace.level, "replay_reason": trace.replay_reason}
    if trace.host:
        header["host"] = [vars(work) for work in trace.host]
    tensors |= {f"kept/{index}": kept for index, kept in enumerate(trace.kept)}
    for name in ("pixels", "logits", "labels"):
        array = getattr(trace, name)
        if array is not None:
            tensors[name] = array
    return tensors, header


def restore_trace(where: str, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> Trace:
    """The inverse of writing: named arrays and header -> Trace. Raises UserError naming `where`."""
    try:
        streams = [_restore(Stream, f"stream/{plain['name']}", plain, tensors) for plain in header["streams"]]
        layers = [
            _restore(LAYER_KINDS[plain["kind"]], f"layer/{plain['name']}", plain, tensors) for plain in header["layers"]
        ]
        return Trace(
            numerics=Numerics(**header["numerics"]),
            streams={stream.name: stream for stream in streams},
            layers=tuple(layers),
            images=header["images"],
            pixels=tensors.get("pixels"),
            kept=tuple(tensors[f"kept/{index}"] for index in range(header["selectors"])),
            logits=tensors.get("logits"),
            labels=tensors.get("labels"),
            shadow=header["shadow"],
            provenance=header["provenance"],
            level=header.get("level", "exact"),
            replay_reason=header.get("replay_reason", ""),
            host=tuple(HostWork(**plain) for plain in header.get("host", ())),
        )
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise UserError(f"{where}: not a valid trace ({type(error).__name__}: {error})") from None


def _restore(kind: type[Any], prefix: str, plain: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Any:
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        value = plain.get(field.name)
        if f"{prefix}/{field.name}" in tensors:
            arguments[field.name] = tensors[f"{prefix}/{field.name}"]
        elif field.name in _NESTED and isinstance(value, Mapping):
            arguments[field.name] = _restore(_NESTED[field.name], f"{prefix}/{field.name}", value, tensors)
        elif field.name in plain:
            arguments[field.name] = value
    return kind(**arguments)
