"""The shape of a Spikformer, checked once, shared by the network, the ticket file and the lowering."""

from dataclasses import dataclass

from ..simulator.errors import UserError, nearest

SELECTOR_FORMS = ("learned", "rate", "random")
NEURONS = ("lif", "relu")
ACTIVATIONS = ("relu", "gelu")


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
        """Raise UserError naming the first value that no network can have."""
        for name in ("image_channels", "image_size", "timesteps", "depth", "heads", "mlp_ratio", "classes"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{name} = {value!r}: needs a whole number of at least 1")
        if not self.sps_channels or len(self.sps_channels) != len(self.sps_pools):
            raise UserError(
                f"sps_channels {self.sps_channels} and sps_pools {self.sps_pools}: need one of each per conv"
            )
        if min(self.sps_channels) < 1:
            raise UserError(f"sps_channels = {self.sps_channels}: needs at least 1 channel per conv")
        if self.width % self.heads:
            raise UserError(f"width {self.width} does not split into {self.heads} heads; take a multiple")
        choices = {"selector": SELECTOR_FORMS, "neuron": NEURONS, "activation": ACTIVATIONS}
        for name, allowed in choices.items():
            value = str(getattr(self, name))
            if value not in allowed:
                raise UserError(f"{name} {value!r} is unknown; {nearest(value, allowed)}")
        if self.neuron == "relu" and self.timesteps != 1:
            raise UserError(f"timesteps = {self.timesteps}: an ANN (neuron `relu`) has one")
        if not 0 < self.keep <= 1:
            raise UserError(
                f"keep = {self.keep}: the share of tokens that a selector keeps must be above 0 and at most 1"
            )
        if self.attention_scale <= 0:
            raise UserError(f"attention_scale = {self.attention_scale}: must be above 0")

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
