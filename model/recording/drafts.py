"""Layers to be: what the chip would run, still with the model's own float weights."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...simulator.trace import PoolForm, Window
from .currents import Drive
from .host import Foreign
from .sites import Site
from .streams import Draft
from .values import Value

Float = NDArray[np.float64]
_OWN_TOKEN = Window(1, 1)


@dataclass(eq=False)
class LayerDraft:
    """One layer of the trace.

    kind: conv, linear, pool, attention, hadamard or head.  sites: of the model that it stands for (q, k, v are three).
    weights: float64[outputs, inputs, ky, kx], pruned weights zero.  bias: float64[outputs].
    biases: how often a head's bias is added for an image.  window: what an output sees.
    target: None where nothing that was recorded follows.  neurons: sites of known neurons that it drives.
    gain, offset: float64[1 or outputs]: what a neuron takes in is gain x sum + offset, batch norm and the like.
    odd: operations between sum and neuron that have no counterpart on the chip.
    pooled: where a neuron takes the largest of several sums.  pool_form: of pools.
    """

    kind: str
    name: str
    sites: tuple[Site, ...]
    source: Draft
    target: Draft | None = None
    weights: Float | None = None
    bias: Float | None = None
    window: Window = _OWN_TOKEN
    heads: int = 1
    scale: float = 1.0
    residual: Draft | None = None
    neurons: tuple[Site, ...] = ()
    gain: Float = field(default_factory=lambda: np.ones(1))
    offset: Float = field(default_factory=lambda: np.zeros(1))
    odd: tuple[Value, ...] = ()
    pooled: Window | None = None
    pool_form: PoolForm = "max"
    biases: float = 1.0

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of what it makes."""
        size = self.window.outputs(self.source.height, self.source.width)
        return size if self.pooled is None else self.pooled.outputs(*size)

    @property
    def folded(self) -> tuple[Float, Float]:
        """float64[outputs, inputs, ky, kx] and float64[outputs]: weights and bias with what comes before neurons."""
        assert self.weights is not None
        outputs = len(self.weights)
        gain = np.broadcast_to(self.gain, outputs)
        bias = self.bias if self.bias is not None else np.zeros(outputs)
        return self.weights * gain[:, None, None, None], bias * gain + np.broadcast_to(self.offset, outputs)


@dataclass(eq=False)
class Reading:
    """A model read: layers in order, and why the integer network cannot be derived, where it cannot.

    reasons: sentences, empty where everything is understood.  unsupported: what the chip has no counterpart for.
    drives: what adds up to the neurons of each stream.
    lost: behind which operation elements could not be followed, where others are to be refused.
    """

    layers: list[LayerDraft] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    unsupported: list[Foreign] = field(default_factory=list)
    drives: dict[Draft, Drive] = field(default_factory=dict)
    timesteps: int = 0
    lost: Value | None = None
