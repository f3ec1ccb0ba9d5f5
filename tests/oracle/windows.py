"""Rules R5, C4, C10, P4 and S1: what the outputs of a window see of a map, all of it listed one by one."""

from dataclasses import dataclass
from functools import cache
from math import isqrt

from sparsespike.simulator.trace import Conv, Pool


@dataclass(frozen=True)
class View:
    """A window of kernel_y x kernel_x inputs that moves over a map of height x width inputs with zeros around it."""

    kernel_y: int
    kernel_x: int
    stride: int
    pad_y: int
    pad_x: int
    height: int
    width: int

    @property
    def rows(self):
        """R5: rows of outputs: the window must end inside the padded map."""
        return sum(1 for y in range(0, self.height + 2 * self.pad_y - self.kernel_y + 1, self.stride))

    @property
    def columns(self):
        """R5: outputs of a row."""
        return sum(1 for x in range(0, self.width + 2 * self.pad_x - self.kernel_x + 1, self.stride))


def view_of(layer, stream):
    """The window of a layer on its source's map; of one that is neither convolution nor pool a single input."""
    size = stream.height, stream.width
    window = getattr(layer, "window", None)
    if window is not None:
        return View(window.height, window.width, window.stride, window.pad_y, window.pad_x, *size)
    if isinstance(layer, Pool):
        return View(layer.kernel, layer.kernel, layer.stride, layer.padding, layer.padding, *size)
    side = isqrt(layer.weights.taps) if isinstance(layer, Conv) else 1
    return View(side, side, 1, side // 2, side // 2, *size)


def pool_of(layer, stream):
    """C10: the window over the map of a convolution's outputs; None where it does not pool its sums."""
    window = getattr(layer, "pooled", None)
    if window is None:
        return None
    sums = view_of(layer, stream)
    return View(window.height, window.width, window.stride, window.pad_y, window.pad_x, sums.rows, sums.columns)


def both(view, pool):
    """D5: what a pooled output sees of the map, as one window."""
    if pool is None:
        return view
    return View(
        (pool.kernel_y - 1) * view.stride + view.kernel_y,
        (pool.kernel_x - 1) * view.stride + view.kernel_x,
        pool.stride * view.stride,
        pool.pad_y * view.stride + view.pad_y,
        pool.pad_x * view.stride + view.pad_x,
        view.height,
        view.width,
    )


@cache
def seen(view):
    """R5: [output] -> {tap: input} inside the map."""
    outputs = []
    for oy in range(view.rows):
        for ox in range(view.columns):
            inputs = {}
            for tap in range(view.kernel_y * view.kernel_x):
                ky, kx = divmod(tap, view.kernel_x)
                y, x = oy * view.stride + ky - view.pad_y, ox * view.stride + kx - view.pad_x
                if 0 <= y < view.height and 0 <= x < view.width:
                    inputs[tap] = y * view.width + x
            outputs.append(inputs)
    return outputs


@cache
def valid_taps(view):
    """R5: [input] -> taps through which its events reach an output."""
    taps = [[] for _ in range(view.height * view.width)]
    for inputs in seen(view):
        for tap, token in inputs.items():
            taps[token].append(tap)
    return [tuple(sorted(mine)) for mine in taps]


@cache
def read_outputs(view, pool=None):
    """C4, C10: [place of the target] -> outputs whose sums its sweep reads: one, or those in the pool's window."""
    if pool is None:
        return [[output] for output in range(view.rows * view.columns)]
    return [list(outputs.values()) for outputs in seen(pool)]


@cache
def closing_inputs(view, pool=None):
    """C4, C10: [place of the target] -> the last input that it sees."""
    last = [max(inputs.values()) for inputs in seen(view)]
    return [max(last[output] for output in outputs) for outputs in read_outputs(view, pool)]


def _last_beside(at, places, kernel, stride, pad):
    """P4: the last row (or column) of the last pooled window with this one; itself where none has it."""
    ends = [y * stride - pad + kernel - 1 for y in range(places)]
    return max([at, *(end for end in ends if end - kernel + 1 <= at <= end)])


@cache
def open_outputs(view, contexts, pool=None):
    """P4: the most outputs that are open while so many successive inputs are under way, maps following one another."""

    def number(oy, ox, ky, kx):
        return (oy * view.stride - view.pad_y + ky) * view.width + ox * view.stride - view.pad_x + kx

    spans = []
    for oy in range(view.rows):
        for ox in range(view.columns):
            last_y, last_x = oy, ox
            if pool:
                last_y = _last_beside(oy, pool.rows, pool.kernel_y, pool.stride, pool.pad_y)
                last_x = _last_beside(ox, pool.columns, pool.kernel_x, pool.stride, pool.pad_x)
            spans.append((number(oy, ox, 0, 0), number(last_y, last_x, view.kernel_y - 1, view.kernel_x - 1)))
    tokens, longest = view.height * view.width, max(last - first for first, last in spans)
    most, around = 0, range(-2 - (longest + contexts) // tokens, 3 + (longest + contexts) // tokens)
    for now in range(tokens):
        count = 0
        for first, last in spans:
            for shift in (other * tokens for other in around):
                count += first + shift <= now + contexts - 1 and now <= last + shift
        most = max(most, count)
    return most
