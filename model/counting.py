"""What a network costs on paper: parameters, weights to prune, multiply-accumulates, the field's energy formula.

Everything is counted from one list of layer shapes, without torch. A `SpikformerConfig` gives its own list; a network
that cannot be built here (`paper.event_camera_shapes`) gives one too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..simulator.errors import UserError
from .config import SpikformerConfig

# pJ in 45 nm, 32-bit floats: multiply 3.7 + add 0.9, and the add alone (Horowitz, ISSCC 2014)
MAC_PJ, ACCUMULATE_PJ = 4.6, 0.9

_WEIGHTED = ("conv", "linear")
_MULTIPLYING = (*_WEIGHTED, "attention")


@dataclass(frozen=True)
class LayerShape:
    """One layer as numbers: `outputs` results at each of `positions` places, each a sum over taps x inputs products.

    name: as in the official state dict; an attention product, which has no parameters, as block.{i}.attn.qk or .av.
    kind: conv or linear (weights that pruning may touch); attention (two operands that are both spikes, all heads
        together: Q K^T sums D products in N x N places, A V sums N products in N x D places); batch norm (scale and
        shift, folded into the layer before it, hence no MACs); layer norm (never used by the networks of the paper: its
        scales stay 1, its shifts 0); embedding (never used, never pruned).
    positions: pixels or tokens.  taps: positions of the kernel.  passes: how often an image goes through, T or 1.
    real: the inputs are real numbers, not spikes or sums of spikes.
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    positions: int
    taps: int = 1
    bias: bool = False
    passes: int = 1
    real: bool = False

    @property
    def weights(self) -> int:
        """Weights that pruning may touch."""
        return self.inputs * self.outputs * self.taps if self.kind in _WEIGHTED else 0

    @property
    def parameters(self) -> int:
        """All trained numbers: weights, biases, scales and shifts."""
        if self.kind in ("batch norm", "layer norm"):
            return 2 * self.outputs
        if self.kind == "embedding":
            return self.inputs * self.outputs
        return self.weights + self.outputs * self.bias

    @property
    def idle_zeros(self) -> int:
        """Parameters that are 0 because nothing ever trains them: the shifts of an unused layer norm."""
        return self.outputs if self.kind == "layer norm" else 0

    @property
    def macs(self) -> int:
        """Dense multiply-accumulates per image: passes x positions x taps x inputs x outputs."""
        products = self.positions * self.taps * self.inputs * self.outputs
        return self.passes * products if self.kind in _MULTIPLYING else 0


Network = SpikformerConfig | Sequence[LayerShape]


def layer_shapes(config: SpikformerConfig, paper_counting: bool = False) -> tuple[LayerShape, ...]:
    """The layers of a Spikformer in the order of computation.

    paper_counting: with the two layer norms of each block that the official network holds and never uses. They add
        4 D parameters per block, 2 D of them zeros; `Spikformer` leaves them out.
    """
    layers = _stem(config)
    for index, tokens in enumerate(config.kept_tokens):
        if index and config.keep_counts and config.selector == "learned":
            layers += _selector(config, index - 1, config.kept_tokens[index - 1])
        layers += _block(config, index, tokens, paper_counting)
    head = LayerShape("head", "linear", config.width, config.classes, 1, bias=True)  # of the mean over time: once
    return (*layers, head)


def _stem(config: SpikformerConfig) -> list[LayerShape]:
    """3 x 3 convolutions, each on the image that the pools before it have left, then rpe_conv on the token grid."""
    layers: list[LayerShape] = []
    inputs, side, steps = config.image_channels, config.image_size, config.timesteps
    for index, (outputs, pool) in enumerate(zip(config.sps_channels, config.sps_pools, strict=True)):
        name, first = f"patch_embed.proj_conv{index or ''}", index == 0  # proj_conv, proj_conv1, proj_conv2 …
        layers += _normed(LayerShape(name, "conv", inputs, outputs, side**2, taps=9, passes=steps, real=first))
        inputs, side = outputs, (side + 1) // 2 if pool else side
    return layers + _normed(LayerShape("patch_embed.rpe_conv", "conv", inputs, inputs, side**2, taps=9, passes=steps))


def _block(config: SpikformerConfig, index: int, tokens: int, paper_counting: bool) -> list[LayerShape]:
    """Attention and MLP of one encoder block on so many tokens."""
    width, hidden, steps, block = config.width, config.hidden, config.timesteps, f"block.{index}"

    def linear(name: str, inputs: int, outputs: int) -> list[LayerShape]:
        return _normed(LayerShape(f"{block}.{name}_linear", "linear", inputs, outputs, tokens, bias=True, passes=steps))

    unused = [LayerShape(f"{block}.norm{number}", "layer norm", width, width, tokens) for number in (1, 2)]
    return [
        *(unused if paper_counting else ()),
        *linear("attn.q", width, width),
        *linear("attn.k", width, width),
        *linear("attn.v", width, width),
        LayerShape(f"{block}.attn.qk", "attention", width, tokens, tokens, passes=steps),
        LayerShape(f"{block}.attn.av", "attention", tokens, width, tokens, passes=steps),
        *linear("attn.proj", width, width),
        *linear("mlp.fc1", width, hidden),
        *linear("mlp.fc2", hidden, width),
    ]


def _normed(layer: LayerShape) -> list[LayerShape]:
    """A layer and its batch norm, under the official names: proj_conv1 and proj_bn1, q_linear and q_bn."""
    name = layer.name.replace("_conv", "_bn").replace("_linear", "_bn")
    return [layer, LayerShape(name, "batch norm", layer.outputs, layer.outputs, layer.positions, passes=layer.passes)]


def _selector(config: SpikformerConfig, index: int, tokens: int) -> list[LayerShape]:
    """A learned selector, which sees the mean over time: once per image, on the tokens that are left before it."""
    sizes = ((0, config.width, config.selector_hidden), (2, config.selector_hidden, 2))
    return [
        LayerShape(f"predictor.{index}.linear.{place}", "linear", inputs, outputs, tokens, bias=True, real=True)
        for place, inputs, outputs in sizes
    ]


def _layers(network: Network, paper_counting: bool = False) -> Sequence[LayerShape]:
    return layer_shapes(network, paper_counting) if isinstance(network, SpikformerConfig) else network


def parameters(network: Network, paper_counting: bool = False) -> int:
    """Trained parameters. paper_counting: see `layer_shapes`; a list of shapes is counted as it is."""
    return sum(layer.parameters for layer in _layers(network, paper_counting))


def prunable(network: Network) -> int:
    """Weights that pruning may touch; the same with and without paper_counting."""
    return sum(layer.weights for layer in _layers(network))


class Sparsity(NamedTuple):
    """Two shares of zeros. of_prunable: of the weights that pruning may touch.  of_all: of all parameters."""

    of_prunable: float
    of_all: float


def sparsity(network: Network, removed: int, paper_counting: bool = False) -> Sparsity:
    """Sparsity both ways after `removed` weights are gone.

    With paper_counting (or a list that holds layer norms) of_all is the number that the paper prints: unused norms are
    among the parameters, and their shifts among the zeros. Raises UserError where more is removed than there is.
    """
    layers, weights = _layers(network, paper_counting), prunable(network)
    if not 0 <= removed <= weights:
        raise UserError(f"removed = {removed}: the network has {weights} prunable weights")
    zeros = removed + sum(layer.idle_zeros for layer in layers)
    return Sparsity(removed / weights, zeros / parameters(layers))


def ladder(network: Network, rounds: int, fraction: float = 0.25) -> list[int]:
    """Weights removed after rounds 0 (dense) to `rounds` of global pruning: int(fraction x survivors) go per round.

    The same integers as `pruning.prune_survivors` leaves. Raises UserError where no such ladder exists.
    """
    if rounds < 0 or not 0 < fraction < 1:
        raise UserError(f"rounds = {rounds}, fraction = {fraction}: need at least 0 rounds, a fraction between 0 and 1")
    weights = prunable(network)
    removed = [0]
    for _ in range(rounds):
        removed.append(removed[-1] + int(fraction * (weights - removed[-1])))
    return removed


def layer_macs(network: Network) -> dict[str, int]:
    """Dense multiply-accumulates per image of each layer that has any, in the order of computation."""
    return {layer.name: layer.macs for layer in _layers(network) if layer.macs}


def macs(network: Network) -> int:
    """Dense multiply-accumulates per image, which is what the paper calls FLOPs.

    Every timestep counts in full, the first convolution too, although it sees the same pixels T times; neither pruned
    weights nor absent spikes are credited; attention is (Q K^T) V, 2 N^2 D per block whichever order is cheaper.
    Learned selectors count once per image, as does the head. Batch norm, neurons, pools and additions do not count.
    """
    return sum(layer_macs(network).values())


def max_token_saving(network: Network) -> float:
    """The share of MACs that no token pruning can exceed: that of blocks 1 and up while all tokens are kept.

    Stem and block 0 always see every token. A list of shapes must be that of the network without selectors.
    """
    if isinstance(network, SpikformerConfig):
        network = replace(network, keep=1.0)
    costs = layer_macs(network)
    later = [cost for name, cost in costs.items() if name.startswith("block.") and not name.startswith("block.0.")]
    return sum(later) / sum(costs.values())


def real_valued_macs(config: SpikformerConfig) -> int:
    """MACs per image with real numbers as inputs: the first convolution, computed once, and the learned selectors."""
    return sum(replace(layer, passes=1).macs for layer in layer_shapes(config) if layer.real)


def formula_energy_pj(real_macs: float, synaptic_operations: float) -> float:
    """The energy formula of the spiking-transformer literature, in pJ: 4.6 x MACs + 0.9 x synaptic operations.

    real_macs: multiply-accumulates of layers with real-valued inputs (`real_valued_macs`); all MACs of a float network
        without spikes.
    synaptic_operations: accumulates that spikes cause.
    The formula charges arithmetic only - no memory, no wires, no control - and charges 32-bit floats even where the
    weights have 8 bits.
    """
    return MAC_PJ * real_macs + ACCUMULATE_PJ * synaptic_operations
