"""A random chip cut to a trace: fields just wide enough, memories for all or for some. Sizes by the oracle."""

from oracle.dram import Memory
from oracle.setting import Setting
from oracle.windows import open_outputs, pool_of, view_of
from sparsespike.simulator.trace import Attention, Conv, Head, Linear


def pick(rng, *values):
    """One of the values, as a plain Python object."""
    return values[int(rng.integers(len(values)))]


def fit(rng, chip, trace):
    """The chip with fields just wide enough, and memories for all or for some: then weights stream and data spill."""
    channels = max(stream.channels for stream in trace.streams.values())
    trees = (chip.cores + chip.attention.units) * max(chip.cores, chip.attention.units)
    setting = Setting(trace, chip)
    memory = Memory(setting)
    numbers = trace.numerics
    banks, bits = chip.core.weight_banks, chip.core.weight_word_bits
    one = max(max(words) for words in memory.words)
    every = max(sum(layer[core] for layer in memory.words) for core in range(chip.cores))
    words = max(1, pick(rng, one, int(rng.integers(one, every + 1)), every, every))
    pointers = pick(rng, max(max(layer) for layer in memory.pointers), sum(max(layer) for layer in memory.pointers))
    scorer = pick(rng, max(memory.selector), sum(memory.selector))
    layers = range(len(trace.layers))
    spikes = max(memory.spike_bits(layer, core) for layer in layers for core in range(chip.cores)) // 8 + 1
    potentials = (
        max(memory.potential_bits_held(layer, 0, core) for layer in layers for core in range(chip.cores)) // 8 + 1
    )
    return chip.replace(
        {
            "mesh.channel_bits": max(1, (channels - 1).bit_length()) + int(rng.integers(3)),
            "mesh.tree_bits": (trees - 1).bit_length() + 1,
            "core.weight_bits": min(8, numbers.weight_bits + int(rng.integers(3))),
            "core.accumulator_bits": max(8, numbers.accumulator_bits),
            "core.accumulator_words": max(1, _accumulators(setting)),
            "core.potential_bits": max(8, numbers.potential_bits + int(rng.integers(3))),
            "core.weight_kib": (words + banks - 1) // banks * banks * bits / 8192,
            "core.pointer_kib": max(1, pointers) * 4 / 1024,
            "core.spike_kib": max(1, int(spikes * pick(rng, 0.3, 0.7, 1, 1))) / 1024,
            "core.potential_kib": max(1, int(potentials * pick(rng, 0.3, 0.7, 1, 1))) / 1024,
            "token_unit.weight_kib": max(1, scorer) / 1024,
            "attention.accumulator_words": max(1, _attention_words(setting, rng)),
        }
    )


def _accumulators(setting):
    """P4: the accumulators that the largest layer needs on a core."""
    needed = 0
    for layer, weights in zip(setting.trace.layers, setting.weights, strict=True):
        owned = max(len(core.owned) for core in weights) if weights else 0
        places = setting.chip.core.contexts if isinstance(layer, Linear) else 1
        if isinstance(layer, Conv):
            source = setting.source(layer)
            places = open_outputs(view_of(layer, source), setting.chip.core.contexts, pool_of(layer, source))
        if isinstance(layer, Conv) and setting.chip.core.order == "time_inner":
            places *= setting.timesteps
        elif not isinstance(layer, Head):
            places *= min(setting.timesteps, setting.chip.core.time_batch)
        needed = max(needed, owned * places)
    return needed


def _attention_words(setting, rng):
    """A2: enough for one order at least; sometimes not for the other, so that `auto` has to give in."""
    needed = 1
    for layer in setting.trace.layers:
        if isinstance(layer, Attention):
            d = setting.heads_of(layer)[1]
            tokens = setting.source(layer).height * setting.source(layer).width
            forms = {"qk_first": tokens + tokens * d, "kv_first": d * d + tokens * d}
            least = forms.get(layer.order or setting.chip.attention.order, forms["qk_first"])
            needed = max(needed, d if layer.form == "hadamard" else least)  # A4
            if layer.form == "product" and rng.random() < 0.5:
                needed = max(needed, *forms.values())
    return needed
