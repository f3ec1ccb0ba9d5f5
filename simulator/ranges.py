"""How large the values of each stream can get, by its making: what counters, flits and memories must hold (P4)."""

from .check import need
from .layers import ACTIVATION_MAX, Layer, Pool, Window
from .trace import Stream, Trace

VALUE_MAX = 255  # of an event: an unsigned byte


def largest_values(trace: Trace) -> dict[str, int]:
    """Largest value that each stream can hold by its making; pixels by their bits, 255 for all activations (M2).

    1 per spike; a pool's its source's, of a sum as often as inputs lie in a window; then a residual's on top.
    """
    largest: dict[str, int] = {}
    for stream in trace.streams.values():
        if stream.kind == "real":
            largest[stream.name] = 2 ** (trace.numerics.pixel_bits - 1)
        elif trace.numerics.neuron == "relu":
            largest[stream.name] = ACTIVATION_MAX
        elif stream.events is not None and stream.events.values is not None and len(stream.events.values):
            largest[stream.name] = int(stream.events.values.max())
        else:
            largest[stream.name] = 1
    for layer in trace.layers:
        if layer.target and trace.numerics.neuron == "lif":
            added = largest[layer.residual] if layer.residual else 0
            largest[layer.target] = _largest_made(layer, largest[layer.source], trace.streams[layer.source]) + added
    return largest


def check_ranges(trace: Trace) -> None:
    """Raise UserError where a sum could not be an event's value any more."""
    largest = largest_values(trace)
    for layer in trace.layers:
        what, source = f"layer {layer.name!r}", trace.streams[layer.source]
        if isinstance(layer, Pool) and layer.form == "sum":
            made = _largest_made(layer, largest[layer.source], source)
            need(made <= VALUE_MAX, f"{what}: a sum of its windows can be {made}; values go up to {VALUE_MAX}")
        if layer.target:
            made = largest[layer.target]
            need(made <= VALUE_MAX, f"{what}: with its residual {made} can come; values go up to {VALUE_MAX}")


def _largest_made(layer: Layer, largest: int, source: Stream) -> int:
    """Of a layer's own outputs, without a residual."""
    if not isinstance(layer, Pool):
        return 1
    return largest * most_inside(layer.geometry, source.height, source.width) if layer.form == "sum" else largest


def most_inside(window: Window, height: int, width: int) -> int:
    """Inputs of a map that the fullest window sees."""
    counts = []
    rows, columns = window.outputs(height, width)
    for outputs, kernel, pad, size in (
        (rows, window.height, window.pad_y, height),
        (columns, window.width, window.pad_x, width),
    ):
        first = [at * window.stride - pad for at in range(outputs)]
        counts.append(max(min(at + kernel, size) - max(at, 0) for at in first))
    return counts[0] * counts[1]
