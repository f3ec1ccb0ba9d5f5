"""The shape of a Spikformer, checked once, shared by the network, the ticket file and the lowering."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..simulator.errors import UserError, nearest
from ..simulator.trace import SIZE_MAX, TIMESTEPS_MAX

SELECTOR_FORMS = ("learned", "rate", "random")
NEURONS = ("lif", "relu")
ACTIVATIONS = ("relu", "gelu")
SCALE_MAX = 2**20  # of attention, and of what divides it: their threshold stays a word of 32 bits

# What a trace of the network can hold, by field: from, to.
_SIZES = ("image_channels", "image_size", "depth", "heads", "mlp_ratio", "classes")
_WHOLE = dict.fromkeys(_SIZES, (1, SIZE_MAX)) | {"timesteps": (1, TIMESTEPS_MAX), "selector_seed": (0, 2**63 - 1)}
_CHOICES = {"selector": SELECTOR_FORMS, "neuron": NEURONS, "activation": ACTIVATIONS}


@dataclass(frozen=True)
class SpikformerConfig:
    """Everything that fixes the network's layers; the defaults are the shipped digits ticket.

    sps_channels: output channels of the 3 x 3 convolutions of the patch splitting (SPS); the last is the width D.
    sps_pools: which of them are followed by max pooling (3 x 3, stride 2, padding 1).
    attention_scale: constant factor on Q K^T V (0.125 in the paper, a shift).
    keep: share of tokens that each selector keeps: int(tokens * keep^i) after the i-th; 1 means no selectors.
    selector_seed: seed of the form `random`.
    neuron: `relu` makes the quantised ANN twin of the same shapes, which has one timestep.
    activation: of the hidden units of learned selectors.
    """

    image_channels: int = 1
    image_size: int = 8
    timesteps: int = 4
    sps_channels: tuple[int, ...] = (24, 48)
    sps_pools: tuple[bool, ...] = (False, False)
    depth: int = 4
    heads: int = 4
    mlp_ratio: int = 4
    attention_scale: float = 0.125
    classes: int = 10
    selector: str = "learned"
    keep: float = 0.7
    selector_seed: int = 0
    neuron: str = "lif"
    activation: str = "relu"

    def __post_init__(self) -> None:
        """Raise UserError naming every value that no network can have."""
        faults = list(_value_faults(self)) or list(_shape_faults(self))
        if faults:
            raise UserError("; ".join(faults))

    @property
    def width(self) -> int:
        """Embedding width D: channels of the residual stream."""
        return self.sps_channels[-1]

    @property
    def hidden(self) -> int:
        """Channels inside the MLP."""
        return self.width * self.mlp_ratio

    @property
    def selector_hidden(self) -> int:
        """Hidden units of a learned selector: D / 2, as in the paper's code."""
        return max(1, self.width // 2)

    @property
    def grid(self) -> int:
        """Side of the token grid after the pools."""
        side = self.image_size
        for pool in self.sps_pools:
            side = (side + 1) // 2 if pool else side
        return side

    @property
    def tokens(self) -> int:
        """Tokens that enter the first block."""
        return self.grid**2

    @property
    def keep_counts(self) -> tuple[int, ...]:
        """Tokens kept by each selector; selectors stand before blocks 1 to depth - 1. Empty where all tokens stay."""
        if self.keep == 1:
            return ()
        # The small addend keeps exact products such as 0.7 x 10 from falling below their integer.
        return tuple(max(1, int(self.tokens * self.keep**index + 1e-9)) for index in range(1, self.depth))

    @property
    def kept_tokens(self) -> tuple[int, ...]:
        """Tokens that each block works on."""
        return (self.tokens, *(self.keep_counts or (self.tokens,) * (self.depth - 1)))


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether it is a number from `low` to `high`; neither a truth value nor NaN is."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and is_number(value, low, high)


def _value_faults(config: SpikformerConfig) -> Iterator[str]:
    """A sentence for each value that is wrong whatever the others are."""
    for name, (low, high) in _WHOLE.items():
        value = getattr(config, name)
        if not _is_whole(value, low, high):
            yield f"{name} = {value!r:.60}: needs a whole number from {low} to {high}"
    for name, allowed in _CHOICES.items():
        value = getattr(config, name)
        if value not in allowed:
            yield f"{name} {value!r:.60} is unknown; {nearest(str(value), allowed)}"
    channels, pools = config.sps_channels, config.sps_pools
    if not (isinstance(channels, tuple) and channels and all(_is_whole(size, 1, SIZE_MAX) for size in channels)):
        yield f"sps_channels = {channels!r:.60}: needs whole numbers from 1 to {SIZE_MAX}, one per conv"
    if not (isinstance(pools, tuple) and all(isinstance(pool, bool) for pool in pools)):
        yield f"sps_pools = {pools!r:.60}: needs true or false, one per conv"
    if not is_number(config.keep, 0, 1) or config.keep == 0:
        yield f"keep = {config.keep!r:.60}: the share of tokens that a selector keeps must be above 0 and at most 1"
    if not is_number(config.attention_scale, 1 / SCALE_MAX, SCALE_MAX):
        yield f"attention_scale = {config.attention_scale!r:.60}: needs a number from 1/{SCALE_MAX} to {SCALE_MAX}"


def _shape_faults(config: SpikformerConfig) -> Iterator[str]:
    """A sentence for each two values that do not go together."""
    if len(config.sps_channels) != len(config.sps_pools):
        yield f"sps_channels {config.sps_channels} and sps_pools {config.sps_pools}: need one of each per conv"
    if config.width % config.heads:
        yield f"width {config.width} does not split into {config.heads} heads; take a multiple"
    if config.neuron == "relu" and config.timesteps != 1:
        yield f"timesteps = {config.timesteps}: an ANN (neuron `relu`) has one"
