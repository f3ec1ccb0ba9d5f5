"""From a model that was read to integers: what the chip computes, where all of the model has a counterpart there."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...simulator.trace import Attention, Conv, Head, Layer, Linear, Membrane, Numerics, Pool, Weights
from ..integer import IntegerNetwork
from ..quantise import WEIGHT_BITS, WEIGHT_MAX, quantise_channels, quantise_tensor
from .drafts import LayerDraft, Reading
from .known import Rule, rule_of
from .proof import contradictions
from .streams import Draft
from .trace import Names, quantised_pixels, written

PIXEL_BITS, POTENTIAL_BITS = 8, 24
FRACTION_BITS_MAX = 8
_BIAS_MAX, _THETA_MAX = 2**15 - 1, 2**20
_DECAY_ONE = 256


class UnlikeError(Exception):
    """Something of the model has no counterpart among the chip's layers; says what."""


def derive(reading: Reading, timesteps: int) -> IntegerNetwork:
    """The integer network of a reading. Raises UnlikeError with what prevents it."""
    if reading.reasons:
        raise UnlikeError("; ".join(reading.reasons))
    derivation = _Derivation(reading, timesteps)
    network = derivation.network()
    derivation.prove()
    return network


class _Derivation:
    def __init__(self, reading: Reading, timesteps: int) -> None:
        self.reading, self.timesteps = reading, timesteps
        self.rules = {id(draft): _rule(draft) for draft in reading.layers if draft.kind not in ("pool", "head")}
        self.fraction_bits = 0
        self.names, self.layer_names = Names(), Names()
        self.layers: list[Layer] = []
        self.shapes: dict[str, tuple[int, int, int]] = {}
        self.largest: dict[str, int] = {}
        self.scale = 1.0
        self.bound = 1

    def network(self) -> IntegerNetwork:
        self.fraction_bits = self._fraction_bits()
        for draft in self.reading.layers:
            self._source(draft.source)
            step = {"pool": self._pool, "head": self._head, "attention": self._attention, "hadamard": self._attention}
            step.get(draft.kind, self._neurons)(draft)
        numerics = Numerics(
            timesteps=self.timesteps,
            fraction_bits=self.fraction_bits,
            weight_bits=WEIGHT_BITS,
            pixel_bits=PIXEL_BITS,
            accumulator_bits=self.bound.bit_length() + 1,
            potential_bits=POTENTIAL_BITS,
        )
        weighted = [layer.weights for layer in self.layers if isinstance(layer, (Conv, Linear, Head))]
        survivors = sum(
            int(np.count_nonzero(draft.weights)) for draft in self.reading.layers if draft.weights is not None
        )
        return IntegerNetwork(
            numerics=numerics,
            layers=tuple(self.layers),
            shapes=self.shapes,
            pixel_scale=self.scale,
            seed=0,
            survivors=survivors,
            nonzeros=sum(weights.nonzeros for weights in weighted),
        )

    def prove(self) -> None:
        """Every layer's neurons must have fired in the model as what was read of it has them fire."""
        for draft in self.reading.layers:
            if id(draft) in self.rules and (wrong := contradictions(draft, self.rules[id(draft)])):
                raise UnlikeError(
                    f"{draft.name}: {wrong} spikes of the first image are not what its sums and its neurons' rule give"
                )

    def _fraction_bits(self) -> int:
        """At most T - 1, where halving loses nothing; fewer where thresholds would not leave weights their bits."""
        bits = (
            min(self.timesteps - 1, FRACTION_BITS_MAX) if any(rule.decay < 1.0 for rule in self.rules.values()) else 0
        )
        for draft in self.reading.layers:
            if draft.weights is not None and draft.kind != "head":
                rule, scale = self.rules[id(draft)], 1.0
                if draft.source.pixels is not None:
                    scale = quantised_pixels(draft.source.pixels)[1]
                largest = float(np.abs(draft.folded[0]).max()) / WEIGHT_MAX * scale * rule.gain
                if largest > 0:
                    bits = min(bits, max(0, math.floor(math.log2(_theta_max(rule) * largest / rule.threshold))))
        return bits

    def _source(self, draft: Draft) -> None:
        name = self.names.of(draft)
        if name in self.shapes:
            return
        if self.shapes:
            what = "spikes" if draft.pixels is None else "images"
            raise UnlikeError(f"{name}: a second stream of {what} that no layer of the model makes")
        self.shapes[name] = (draft.channels, draft.height, draft.width)
        if draft.spikes is not None:  # the model's input is spikes
            self.largest[name] = int(draft.dense.max(initial=1))
            return
        assert draft.pixels is not None
        _, self.scale = quantised_pixels(draft.pixels)
        self.largest[name] = 2 ** (PIXEL_BITS - 1) - 1

    def _unit(self, draft: Draft) -> float:
        """What a count of 1 of a layer's source stands for in the model."""
        return draft.unit if draft.pixels is None else self.scale

    def _target(self, draft: LayerDraft) -> dict[str, Any]:
        """Name, source, target and residual of a layer, its target noted."""
        assert draft.target is not None
        source, residual = self.names.of(draft.source), self.names.of(draft.residual)
        target = self.names.of(draft.target)
        if residual and residual not in self.shapes:
            raise UnlikeError(f"{target}: adds spikes that no layer of the model makes")
        if draft.residual is not None and draft.residual.unit != 1.0:
            raise UnlikeError(f"{target}: adds whole spikes to the mean of several")
        self.shapes[target] = (draft.target.channels, draft.target.height, draft.target.width)
        self.largest[target] = 1 + (self.largest[residual] if residual else 0)
        return {"name": self.layer_names.of(draft), "source": source, "target": target, "residual": residual}

    def _neurons(self, draft: LayerDraft) -> None:
        """theta = 2^F threshold / (gain unit), one step higher where a neuron fires above and not at its threshold."""
        rule, common = self.rules[id(draft)], self._target(draft)
        weight, bias = draft.folded
        one = 2**self.fraction_bits * rule.threshold / rule.gain
        integers, integer_bias, unit = quantise_channels(
            weight, bias, self._unit(draft.source), _BIAS_MAX, one / _theta_max(rule)
        )
        self._prove(integers, integer_bias, self.largest[common["source"]])
        fields: dict[str, Any] = {"theta": _theta(one / unit, rule), "membrane": self._membrane(rule, unit)}
        if draft.kind == "conv":
            layer: Layer = Conv(
                **common,
                **fields,
                weights=Weights.from_dense(integers),
                bias=integer_bias,
                window=written(draft),
                pooled=draft.pooled,
            )
        else:
            layer = Linear(**common, **fields, weights=Weights.from_dense(integers[:, :, 0, 0]), bias=integer_bias)
        self.layers.append(layer)

    def _membrane(self, rule: Rule, unit: NDArray[np.float64]) -> Membrane | None:
        """None for the chip's own: halving, reset to 0."""
        decay = round(_DECAY_ONE * rule.decay)
        if not 1 <= decay <= _DECAY_ONE:
            raise UnlikeError(f"a neuron keeps {rule.decay:.3g} of its potential: less than 1/{_DECAY_ONE}")
        if decay == _DECAY_ONE // 2 and rule.reset_by is None:
            return None
        if rule.reset_by is None:
            return Membrane(decay)
        reset = np.rint(2**self.fraction_bits * rule.reset_by / (rule.gain * unit))
        return Membrane(decay, reset.clip(1, 2 ** (POTENTIAL_BITS - 1) - 1).astype(np.int32))

    def _attention(self, draft: LayerDraft) -> None:
        rule, common = self.rules[id(draft)], self._target(draft)
        scale = draft.scale * float(np.asarray(draft.gain).reshape(-1)[0])
        if len(np.unique(draft.gain)) > 1 or np.any(draft.offset) or scale <= 0:
            raise UnlikeError(f"{draft.name}: the product is scaled by channel, or shifted, before its neurons")
        width = draft.source.channels // (3 * draft.heads)
        tokens = draft.source.tokens
        self.bound = max(self.bound, tokens * (width if draft.kind == "attention" else 1))
        unit = np.full(1, scale)
        one = 2**self.fraction_bits * rule.threshold / rule.gain
        self.layers.append(
            Attention(
                **common,
                heads=draft.heads,
                theta=int(_theta(one / unit, rule)[0]),
                membrane=self._membrane(rule, unit),
                form="product" if draft.kind == "attention" else "hadamard",
            )
        )

    def _pool(self, draft: LayerDraft) -> None:
        if draft.target is None:
            raise UnlikeError(f"{draft.name}: a pool that nothing reads")
        common = self._target(draft)
        largest = self.largest[common["source"]] * (draft.window.taps if draft.pool_form == "sum" else 1)
        self.largest[common["target"]] = largest
        self.layers.append(Pool(**common, window=draft.window, form=draft.pool_form))

    def _head(self, draft: LayerDraft) -> None:
        """logit = W . sum over time and tokens + bias x (T x tokens, of a mean): its division is left out."""
        assert draft.weights is not None
        source = self.names.of(draft.source)
        count = self.timesteps * draft.source.tokens
        bias = draft.bias if draft.bias is not None else np.zeros(len(draft.weights))
        bias = bias * draft.biases / draft.source.unit
        weight, scale = quantise_tensor(draft.weights[:, :, 0, 0], bias)
        integer_bias = np.rint(bias / scale).astype(np.int64)
        self._prove(weight, integer_bias, self.largest[source] * count)
        self.layers.append(
            Head(name=self.layer_names.of(draft), source=source, weights=Weights.from_dense(weight), bias=integer_bias)
        )

    def _prove(self, weights: NDArray[np.int8], bias: NDArray[np.integer], largest: int) -> None:
        """Widen the accumulator to the largest |sum| that inputs up to `largest` can bring about."""
        sums = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(1) * largest + np.abs(bias)
        self.bound = max(self.bound, int(sums.max()))


def _theta_max(rule: Rule) -> float:
    """The slower a potential leaks, the more of its width must lie beyond the threshold for what adds up there."""
    return _THETA_MAX if rule.decay <= 0.5 else max(_THETA_MAX / 8, 2 * _THETA_MAX * (1.0 - rule.decay))


def _theta(exact: NDArray[np.float64], rule: Rule) -> NDArray[np.int32]:
    thetas = np.floor(exact) + 1 if rule.strict else np.ceil(exact)
    return np.maximum(thetas, 1).astype(np.int32)


def _rule(draft: LayerDraft) -> Rule:
    """The one rule of all of a layer's neurons. Raises UnlikeError."""
    if draft.target is None:
        raise UnlikeError(
            f"{draft.name}: no neurons take its sums, nor does the model return their plain sum or mean over time"
        )
    if not draft.neurons:
        raise UnlikeError(f"{draft.name}: neurons that are not known (their spikes are taken as they are)")
    if draft.odd:
        odd = draft.odd[0]
        raise UnlikeError(f"{draft.name}: {odd.op} in {odd.path or '(root)'} between the sums and the neurons")
    rules = {rule_of(site.value.module) if site.value.module is not None else None for site in draft.neurons}
    rule = rules.pop()
    if rules or rule is None:
        kind = type(draft.neurons[0].value.module).__name__
        raise UnlikeError(f"{draft.name}: neurons of {draft.neurons[0].path!r}, a {kind}, have no counterpart")
    if not math.isfinite(rule.threshold) or rule.threshold <= 0 or rule.gain <= 0:
        raise UnlikeError(f"{draft.name}: its neurons' threshold lies at or below their rest")
    return rule
