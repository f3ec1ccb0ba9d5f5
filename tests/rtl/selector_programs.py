"""The token unit of random networks."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from sparsespike.simulator.layer_time import selector_cycles
from sparsespike.simulator.placement import hidden_weights
from sparsespike.simulator.trace import Select

from .block_programs import FIELDS, Phase, Sample, random_phases, texts
from .tools import Program

FORMS = ("learned", "rate", "random")
UNIT = FIELDS.parameters | {"TOKENS": 16, "HIDDEN": 20, "FIFO_DEPTH": 5, "WEIGHT_DEPTH": 1024}
WIDE = UNIT | {"MACS": 6, "COMPARATORS": 4, "SCAN": 5}
NARROW = UNIT | {"MACS": 1, "COMPARATORS": 1, "SCAN": 2}
WEIGHT_BITS, BIAS_BITS = 8, 32


def selector_programs(seed: int, shape: Mapping[str, int]) -> Iterator[Sample]:
    """The selectors of random networks."""
    fixed = {"macs": "MACS", "comparators": "COMPARATORS", "scan_width": "SCAN"}
    for phase in random_phases(seed, **{f"token_unit__{key}": shape[name] for key, name in fixed.items()}):
        if isinstance(phase.plan.layer, Select):
            yield Sample(partial(_select, phase, shape), phase.sorts | _form(phase))


def _form(phase: Phase) -> frozenset[str]:
    layer = phase.plan.layer
    sorts = {layer.form}
    if layer.hidden is not None and layer.hidden.nonzeros == 0:
        sorts.add("no hidden weights")
    if layer.table is not None:
        sorts.add("table")
    return frozenset(sorts)


def _select(phase: Phase, shape: Mapping[str, int]) -> tuple[Program, list[str]]:
    """Flits from the cycle on in which output L granted them; the token unit's cycles, the scores, the keep bitmap."""
    plan, chip, layer, trace = phase.plan, phase.chip, phase.plan.layer, phase.trace
    assert isinstance(layer, Select)
    router = chip.service_routers[0]
    candidates = np.flatnonzero(trace.kept_mask(layer.selector, plan.source.tokens)[0]).tolist()
    kept = _bitmap(trace.kept[layer.selector + 1][0].tolist())
    words = _weight_words(phase, shape) if layer.form == "learned" else []
    table = [] if layer.table is None else [entry % (1 << WEIGHT_BITS) for entry in layer.table.tolist()]
    hidden = 0 if layer.hidden is None else layer.hidden.output_channels
    images = {
        "registers": (
            router,
            chip.core.fifo_flits,
            chip.flit_cycles,
            len(phase.at(router, "grant.L.")),
            phase.steps,
            chip.core.contexts,
            int(phase.wiring.expected[0]),
            chip.token_unit.policy == "skip",
            chip.core.order == "time_inner",
            trace.numerics.timesteps,
            plan.source.tokens,
            _bitmap(candidates),
            len(candidates),
            layer.keep,
            FORMS.index(layer.form),
            kept,
            hidden_weights(chip, layer),
            hidden,
            layer.hidden_shift,
            len(words),
            len(table),
        ),
        "weights": words,
        "table": table,
        "flits": [(cycle << 16 | step) << FIELDS.bits | flit for cycle, step, flit in _steps(phase, router)],
    }
    done = phase.outcome.cycles + selector_cycles(phase.placement, plan)
    log = [(done, router, "done", kept)]
    if layer.form != "random":
        log += [
            (done, router, f"score.{place}", score % (1 << 32))
            for place, score in enumerate(_scores(phase, candidates))
        ]
    return images, texts([*phase.at(router, "lookup", "take", "release"), *log])


def _steps(phase: Phase, router: int) -> Iterator[tuple[int, int, int]]:
    """(cycle, step, flit) of the grants to the unit: over each tree steps follow one another."""
    steps: dict[int, int] = {}
    for cycle, _, _, flit in phase.at(router, "grant.L."):
        ending, tree, *_ = FIELDS.split(flit)
        yield cycle, steps.setdefault(tree, 0), flit
        steps[tree] += ending


def _weight_words(phase: Phase, shape: Mapping[str, int]) -> list[int]:
    """MACS to a word: {unit, channel, weight} of hidden weights, then {bias, weight} of the score (token_unit.sv)."""
    layer, dense = phase.plan.layer, phase.chip.core.weight_format == "dense"
    hidden = layer.hidden.to_dense()[:, :, 0].T.tolist()  # [channel][unit]
    entries = [
        (unit << FIELDS.channel | channel) << WEIGHT_BITS | weight % (1 << WEIGHT_BITS)
        for channel, row in enumerate(hidden)
        for unit, weight in enumerate(row)
        if weight or dense
    ]
    scores = [
        bias % (1 << BIAS_BITS) << WEIGHT_BITS | weight % (1 << WEIGHT_BITS)
        for bias, weight in zip(layer.hidden_bias.tolist(), layer.score_weights.tolist(), strict=True)
    ]
    unit_bits = (shape["HIDDEN"] - 1).bit_length()
    lane = max(unit_bits + FIELDS.channel, BIAS_BITS) + WEIGHT_BITS
    return [
        sum(value << place * lane for place, value in enumerate(lanes[at : at + shape["MACS"]]))
        for lanes in (entries, scores)
        for at in range(0, len(lanes), shape["MACS"])
    ]


def _scores(phase: Phase, candidates: list[int]) -> list[int]:
    """T2, T6, of the features that the kernels add up."""
    layer, features = phase.plan.layer, phase.arrived()[candidates]
    if layer.form == "rate":
        return features.sum(axis=1).tolist()
    hidden = features @ layer.hidden.to_dense()[:, :, 0].T.astype(np.int64) + layer.hidden_bias
    shifted = np.clip(hidden >> layer.hidden_shift, -128, 127)
    activated = np.maximum(shifted, 0) if layer.table is None else layer.table.astype(np.int64)[shifted + 128]
    return (activated @ layer.score_weights.astype(np.int64)).tolist()


def _bitmap(tokens: list[int]) -> int:
    return sum(1 << token for token in tokens)
