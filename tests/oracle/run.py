"""The whole run: layers one after the other, with DRAM in front of and behind them (G2, D4, D5, W6)."""

from collections import Counter
from dataclasses import dataclass

from .dram import Memory
from .layers import LayerRun
from .setting import Setting


@dataclass
class Slow:
    """What the oracle found. causes and counts by name; logs[image][layer]: per consumer [(flit, begin, end)].

    cycles[image][layer]; flits: sent in the whole run, end-of-token flits too.
    """

    layers: tuple
    cores: int
    cycles: list
    causes: list
    counts: list
    synaptic_events: list
    spikes: list
    imbalance: list
    logs: list
    flits: int = 0


def simulate_slowly(trace, chip):
    """The rules, literally; Slow."""
    setting = Setting(trace, chip)
    memory = Memory(setting)
    number = len(trace.layers)
    result = Slow(
        layers=tuple(layer.name for layer in trace.layers),
        cores=setting.cores,
        cycles=[],
        causes=[Counter() for _ in range(number)],
        counts=[Counter() for _ in range(number)],
        synaptic_events=[0] * number,
        spikes=[0] * number,
        imbalance=[1.0] * number,
        logs=[],
    )
    now, busy = 0, [Counter() for _ in range(number)]
    for image in range(trace.images):
        result.cycles.append([])
        result.logs.append([])
        for index in range(number):
            run = LayerRun(setting, index, image)
            result.causes[index].update(run.causes)
            result.counts[index].update(run.counts)
            result.synaptic_events[index] += run.synaptic
            result.spikes[index] += run.spikes
            busy[index].update(run.busy)
            result.flits += run.flits
            result.logs[-1].append(run.log)
            end = _in_memory_time(memory, (image, index), now, run.cycles, result)
            result.cycles[-1].append(end - now)
            now = end
    for index, cores in enumerate(busy):
        if any(cores.values()):
            result.imbalance[index] = max(cores.values()) * setting.cores / sum(cores.values())
    return result


def _in_memory_time(memory, key, now, cycles, result):
    """D4, D5, W6: the end of a layer that needs `cycles` once its weights are there."""
    image, index = key
    counts, causes = result.counts[index], result.causes[index]
    transfer = memory.known.get(key)
    if transfer:
        counts["DRAM_READ"] += memory.bursts(transfer.bytes)
        counts["WEIGHT_WRITE"] += transfer.words
        counts["POINTER_WRITE"] += transfer.pointers
    start = max(now, memory.arrival(image, index))
    each_way = memory.spill(index, image)
    counts["DRAM_READ"] += each_way
    counts["DRAM_WRITE"] += each_way
    end = max(start + cycles, memory.layer_started(image, index, start, 2 * each_way))
    memory.layer_ended(image, index, end)
    causes["DRAM"] += (end - now - cycles) * result.cores
    return end
