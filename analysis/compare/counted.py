"""What a comparison counts of a run beside its report: the literature's attention, and what is loaded once."""

import numpy as np

from ...simulator.dram import Channel
from ...simulator.hardware import Chip
from ...simulator.placement import place
from ...simulator.trace import Attention, Trace


def attention_accumulates(trace: Trace, chip: Chip) -> int:
    """Firing rate x FLOPs of both products of attention, the field's count, over all images and timesteps.

    Of N kept tokens each spike of q meets the N keys of its head, each spike of v the scores of N queries. A chip that
    computes dropped tokens has as many queries as the grid has tokens (G3). 0 of an ANN, where these are MACs. Hadamard
    attention masks in place of multiplying: what it adds are the keys at which a k and a v both spike.
    """
    if trace.numerics.neuron == "relu":
        return 0
    every, total = chip.token_unit.policy == "off", 0
    for layer in trace.layers:
        if not isinstance(layer, Attention):
            continue
        source = trace.streams[layer.source]
        assert source.events is not None
        rows = np.repeat(np.arange(len(source.events.offsets) - 1), np.diff(source.events.offsets))
        kept = trace.kept_mask(layer.selector, source.tokens)
        stays = kept[rows // (trace.numerics.timesteps * source.tokens), rows % source.tokens]
        third, keys = source.channels // 3, int(kept[0].sum())
        if layer.form == "hadamard":
            places = (rows * third + source.events.channels % third)[stays]
            operands = (source.events.channels // third)[stays]
            total += len(np.intersect1d(places[operands == 1], places[operands == 2], assume_unique=True))
            continue
        of_q, of_v = source.events.channels < third, source.events.channels >= 2 * third
        total += keys * int((of_q & (stays | every)).sum())
        total += (source.tokens if every else keys) * int((of_v & stays).sum())
    return total


def loaded_once(trace: Trace, chip: Chip) -> int:
    """Bytes in whole bursts that DRAM gives to the first image and to no later one: weights that stay on the chip (D3).

    0 where they do not fit together and come anew for every image. Raises UserError as `place`.
    """
    channel = Channel(place(trace, chip), 1)
    first, later = (sum(chip.in_bursts(one.bytes) for one in channel.transfers(image)) for image in (0, 1))
    return first - later
