"""The whole run: layers one after the other, with DRAM in front of and behind them (G2, D4, D5, W6)."""

from collections import Counter
from dataclasses import dataclass

from .critical import busiest, critical
from .dram import Memory
from .layers import LayerRun
from .pipelined import Pipeline
from .setting import Setting


@dataclass
class Slow:
    """What the oracle found. causes and counts by name; logs[image][layer]: per consumer [(flit, begin, end)].

    pipelined: events[0][0] is the log of the whole run.
    cycles[image][layer]; latency[image]; flits: sent in the whole run, end-of-token flits too; busy: cycles per kind of
    unit (K1), and critical: the name of the critical one (K2), per layer; events[image][layer]: the log, where it was
    asked for.
    """

    layers: tuple
    cores: int
    cycles: list
    latency: list
    causes: list
    counts: list
    synaptic_events: list
    spikes: list
    imbalance: list
    logs: list
    events: list
    busy: list
    critical: list
    flits: int = 0


def simulate_slowly(trace, chip, log=False, cuts=None):
    """The rules, literally; Slow. log: keep events too; cuts: placement.Placement."""
    setting = Setting(trace, chip, cuts)
    number = len(trace.layers)
    result = Slow(
        layers=tuple(layer.name for layer in trace.layers),
        cores=setting.cores,
        cycles=[],
        latency=[],
        causes=[Counter() for _ in range(number)],
        counts=[Counter() for _ in range(number)],
        synaptic_events=[0] * number,
        spikes=[0] * number,
        imbalance=[1.0] * number,
        logs=[],
        events=[],
        busy=[],
        critical=[],
    )
    units = [Counter() for _ in range(number)]
    service = [{core: Counter() for core in range(setting.cores)} for _ in range(number)]
    at_work = _at_once if chip.schedule == "pipelined" else _one_after_the_other
    for work in at_work(setting, result, units, log):
        result.counts[work.index].update(work.counts)
        result.synaptic_events[work.index] += work.synaptic
        result.spikes[work.index] += work.spikes
        result.flits += len(work.flits)
        units[work.index].update(work.busy)
        for core, causes in work.service.items():
            service[work.index][core].update(causes)
    for index in range(number):
        result.imbalance[index] = _imbalance(service[index])
        result.busy.append(busiest(units[index]))
        result.critical.append(critical(units[index], service[index]))
    return result


def _one_after_the_other(setting, result, units, log):
    """G2: puts time, causes and logs into the result; yields each layer's work on each image."""
    memory, now = Memory(setting), 0
    for image in range(setting.trace.images):
        for lists in (result.cycles, result.logs, result.events):
            lists.append([])
        for index in range(len(setting.trace.layers)):
            run = LayerRun(setting, index, image)
            result.causes[index].update(run.causes)
            result.logs[-1].append(run.log)
            result.events[-1].append(run.events() if log else [])
            end = _in_memory_time(memory, (image, index), now, run.cycles, result, units[index])
            result.cycles[-1].append(end - now)
            now = end
            yield run
        result.latency.append(sum(result.cycles[-1]))


def _at_once(setting, result, units, log):
    """Section L: the same of the pipeline."""
    pipeline = Pipeline(setting)
    pipeline.run()
    result.cycles, result.latency, result.logs = pipeline.cycles(), pipeline.latency(), pipeline.logs()
    result.causes = pipeline.charge()
    result.events = [[pipeline.log() if log else []]]
    for image, index in pipeline.memory.known:
        _transferred(pipeline.memory, (image, index), result.counts[index], units[index])
    yield from pipeline.all_works()


def _imbalance(service):
    """Largest over mean cycles of row service without CONTROL, all cores."""
    busy = [sum(causes.values()) - causes["CONTROL"] for causes in service.values()]
    return max(busy) * len(busy) / sum(busy) if any(busy) else 1.0


def _in_memory_time(memory, key, now, cycles, result, units):
    """D4, D5, W6, K1: the end of a layer that needs `cycles` once its weights are there."""
    image, index = key
    counts, causes = result.counts[index], result.causes[index]
    if key in memory.known:
        _transferred(memory, key, counts, units)
    start = max(now, memory.arrival(image, index))
    each_way = memory.spill(index, image)
    counts["DRAM_READ"] += each_way
    counts["DRAM_WRITE"] += each_way
    units["dram", 0] += memory.cycles(2 * each_way)
    end = max(start + cycles, memory.layer_started(image, index, start, 2 * each_way))
    memory.layer_ended(image, index, end)
    causes["DRAM"] += (end - now - cycles) * result.cores
    return end


def _transferred(memory, key, counts, units):
    """W6, K1: what a transfer counts."""
    transfer = memory.known[key]
    counts["DRAM_READ"] += memory.bursts(transfer.bytes)
    counts["WEIGHT_WRITE"] += transfer.words
    counts["POINTER_WRITE"] += transfer.pointers
    units["dram", 0] += memory.cycles(transfer.bytes)
