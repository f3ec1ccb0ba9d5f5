"""Published models of Eyeriss, PTB, SATO, MINT and Prosperity once more: plain loops over lists, slow and obvious.

Written from the papers' tables and Prosperity's public simulator alone; shares no code with simulator/peers. A layer's
spikes are rows[timestep][place] = a list of 0 and 1 for every input and tap.
"""

import math
from itertools import product

from sparsespike.simulator.trace import Attention, Conv, Linear


def ceil(a, b):
    return a // b + (a % b > 0)


def spikes_of(trace, layer, image):
    """seen[timestep][token][channel] of the tokens that are left, and how many events are above 1."""
    stream, steps = trace.streams[layer.source], trace.numerics.timesteps
    events = stream.events
    tokens = range(stream.tokens) if layer.selector < 0 else [int(t) for t in trace.kept[layer.selector][image]]
    seen, graded = [], 0
    for step in range(steps):
        seen.append([])
        for token in tokens:
            row = (image * steps + step) * stream.tokens + token
            bits = [0] * stream.channels
            for at in range(events.offsets[row], events.offsets[row + 1]):
                bits[int(events.channels[at])] = 1
                graded += events.values is not None and int(events.values[at]) > 1
            seen[-1].append(bits)
    return seen, graded


class Product:
    """rows[timestep][place][column], N outputs; `repeats`: how often im2col repeats a spike; `single`: one token."""

    def __init__(self, rows, outputs, repeats, single):
        self.rows, self.N, self.repeats, self.single = rows, outputs, repeats, single
        self.T, self.P, self.K = len(rows), len(rows[0]), len(rows[0][0])
        self.M = self.T * self.P


def product_of(trace, layer, image):
    seen, _ = spikes_of(trace, layer, image)
    outputs = layer.weights.output_channels
    if isinstance(layer, Linear):
        return Product(seen, outputs, 1, len(seen[0]) == 1)
    source, window = trace.streams[layer.source], layer.geometry
    high, wide = window.outputs(source.height, source.width)
    rows = []
    for maps in seen:
        rows.append([])
        for oy, ox in product(range(high), range(wide)):
            columns = []
            for channel, ky, kx in product(range(source.channels), range(window.height), range(window.width)):
                y, x = oy * window.stride + ky - window.pad_y, ox * window.stride + kx - window.pad_x
                inside = 0 <= y < source.height and 0 <= x < source.width
                columns.append(maps[y * source.width + x][channel] if inside else 0)
            rows[-1].append(columns)
    whole = window.height == source.height and window.width == source.width and window.pad_y == window.pad_x == 0
    return Product(rows, outputs, 1 if whole else window.height * window.width, whole)


# ---- Prosperity


def tiles_of(flat):
    """Tiles of at most 256 rows and 16 columns: lists of sets of columns."""
    for m in range(0, len(flat), 256):
        for k in range(0, len(flat[0]), 16):
            tile = flat[m : m + 256]
            yield [{c for c in range(k, min(k + 16, len(row))) if row[c]} for row in tile], min(16, len(flat[0]) - k)


def without_prefix(tile):
    """What is left of each row, as sets."""
    left = []
    for i, row in enumerate(tile):
        best = set()
        if len(row) >= 2:
            for j, other in enumerate(tile):
                usable = other < row or (other == row and j < i)
                if usable and len(other) > len(best):
                    best = other
        left.append(row - best)
    return left


class Prosperity:
    def __init__(self, with_products):
        self.with_products, self.stored = with_products, False

    def layer(self, trace, layer, image, totals):
        if isinstance(layer, Attention):
            return self.attention(trace, layer, image, totals)
        p = product_of(trace, layer, image)
        flat = [p.rows[t][place] for place in range(p.P) for t in range(p.T)]
        if self.with_products:
            compute, bits = self.on_gpu(p, flat, totals)
        else:
            compute, bits = self.on_cpu(flat, p.N, p.repeats, self.stored, False, None)
        cycles = self.with_memory(compute, bits, flat, p.N, self.stored, False)
        stream = trace.streams[layer.target]
        tokens = stream.tokens if layer.selector < 0 else p.P
        added, _, written = self.neurons(tokens * stream.channels, p.T)
        return cycles, added, bits + written

    def on_gpu(self, p, flat, totals):
        left = exact = searched = 0
        wide = ceil(p.N, 128)
        for tile, columns in tiles_of(flat):
            rest = without_prefix(tile)
            left += sum(map(len, rest))
            exact += sum(1 for row, other in zip(tile, rest, strict=True) if row and not other)
            searched += sum(1 for row in tile if len(row) > 1)
            totals += [(sum(map(len, tile)) * wide, sum(map(len, rest)) * wide, len(tile) * columns * wide)]
        bits = p.K * p.N * 8 * ceil(p.M, 256) + p.M * p.K * wide // p.repeats
        return max((left + exact) * wide, (searched + p.M // 8) * wide), bits

    def on_cpu(self, flat, outputs, repeats, stored, weights_stored, totals):
        compute = search = bits = 0
        M, K = len(flat), len(flat[0])
        tiles = list(tiles_of(flat))
        deep = ceil(K, 16)
        for number, (tile, columns) in enumerate(tiles):
            m = number // deep
            rest = without_prefix(tile) if self.with_products else tile
            for n in range(0, outputs, 128):
                if not stored and (M * K > 4096 or n == 0):
                    bits += len(tile) * columns // repeats
                fits = K * outputs * 8 <= 16384 or deep == 1
                if not weights_stored and (not fits or m == 0):
                    bits += columns * min(128, outputs - n) * 8
                if self.with_products:
                    compute += sum(map(len, rest)) + sum(1 for a, b in zip(tile, rest, strict=True) if a and not b)
                    search += sum(1 for row in tile if len(row) > 1) + len(tile) // 8
                    totals += [(sum(map(len, tile)), sum(map(len, rest)), len(tile) * columns)]
                else:
                    compute += sum(map(len, tile))
        return max(compute, search), bits

    def with_memory(self, compute, bits, flat, outputs, stored, weights_stored):
        deep = min(16, len(flat[0]))
        first = 0
        if not weights_stored:
            first += deep * min(128, outputs) * 8
        if not stored:
            first += deep * min(256, len(flat))
        stall = first // 1024 + max(0, (bits - first) // 1024 - compute)
        return compute + stall

    def neurons(self, count, steps):
        """(cycles behind a product, all cycles, bits that are written)"""
        every = ceil(count, 32) * steps * 2
        last = min(every, ceil(256 * 128 // steps, 32) * steps * 2)
        self.stored = count * steps < 4096
        if self.stored:
            return last, every, 0
        return last, every + max(0, count * steps // 1024 - every), count * steps

    def attention(self, trace, layer, image, totals):
        seen, _ = spikes_of(trace, layer, image)
        steps, tokens, width = len(seen), len(seen[0]), len(seen[0][0]) // 3
        d = width // layer.heads
        if layer.form == "hadamard":
            return *self.masked(steps, tokens, width, d)[:1], 0, self.bits
        more, fewer = max(tokens, d), min(tokens, d)
        cycles = bits = 0
        for step in range(steps):
            q, k, v = (
                [bit for token in range(tokens) for bit in seen[step][token][part * width : (part + 1) * width]]
                for part in range(3)
            )
            last = q if tokens > d else v
            for head in range(layer.heads):

                def at(flat, row, column, head=head):
                    return flat[(row * layer.heads + head) * fewer + column]

                one = [[at(k, row, column) for row in range(more)] for column in range(fewer)]
                two = [[at(last, row, column) for column in range(fewer)] for row in range(more)]
                fits = fewer * fewer * 8 < 16384
                if not fits:
                    bits += more * fewer
                for flat, ready in ((one, self.stored), (two, fits)):
                    compute, moved = self.on_cpu(flat, fewer, 1, self.stored, ready, totals)
                    bits += moved
                    cycles += self.with_memory(compute, moved, flat, fewer, self.stored, ready)
        added, every, written = self.neurons(tokens * width, steps)
        if cycles + added < every:
            added = every - cycles
        return cycles, added, bits + written

    def masked(self, steps, tokens, width, d):
        operations = steps * tokens * width
        first = read = 0
        if not self.stored:
            first, read = tokens * d * 3, operations * 3
        compute = operations // 128
        _, every, _ = self.neurons(width, steps)
        compute += max(0, every - compute)
        compute += operations // 128
        self.stored = operations < 4096
        self.bits = read + (0 if self.stored else operations)
        return (compute + first // 1024 + max(0, (self.bits - first) // 1024 - compute),)


# ---- the others


def eyeriss(p, neurons, steps):
    return ceil(p.N, 12) * (p.K * p.M // 14) if p else 0, (steps // 12) * neurons // 14, None


def mint(p, neurons, steps):
    spikes = sum(sum(row) for maps in p.rows for row in maps) if p else 0
    return spikes * ceil(p.N, 128) if p else 0, neurons * steps * 3 // 16, None


def sato(p, neurons, steps):
    logarithm = math.log2(steps)
    behind = neurons * (int(logarithm) + 1) if logarithm == int(logarithm) else neurons * (logarithm + 1)
    if not p:
        return 0, behind, None
    units = [0] * 128
    for maps in p.rows:
        for row in maps:
            units[units.index(min(units))] += sum(row)
    return max(units) * p.N, behind, None


def ptb(p, neurons, steps):
    behind = neurons * steps * 3 // 16
    if not p:
        return 0, behind, None
    padded = 4
    while padded < steps:
        padded *= 2
    windows = []  # of all windows and places in turn: the inputs that spike
    for begin in range(0, padded, 4):
        for place in range(p.P):
            inputs = range(p.K)
            windows.append({k for k in inputs for t in range(begin, begin + 4) if t < steps and p.rows[t][place][k]})
    if p.single:
        length = len(set().union(*windows))
    else:
        while len(windows) % 8:
            windows.append(set())
        each, length = len(windows) // 8, 0
        for r in range(each):
            columns = [windows[c * each + r] for c in range(8)]
            rows = [{c for c in range(8) if k in columns[c]} for k in range(p.K)]
            length += sum(1 for row in rows if len(row) == 8)
            rows = [row for row in rows if 0 < len(row) < 8]
            while rows:
                row = rows.pop(0)
                length += 1
                for index, other in enumerate(rows):
                    if not row & other:
                        rows.pop(index)
                        break
    compute = length * ceil(p.N, 16) * 4 + p.P * 32
    bits = p.M * p.K + p.K * p.N * 8 + p.M * p.N
    stall = 1 + max(0, (bits - 1536) // 1024 - compute)
    return compute + stall, behind, bits


BASELINES = {"eyeriss": eyeriss, "ptb": ptb, "sato": sato, "mint": mint}


def run_slowly(trace):
    """({peer: [per image [per layer (cycles, neuron cycles, DRAM bits)]]}, bit density, product density)"""
    found = {name: [] for name in (*BASELINES, "prosperity_bit_sparse", "prosperity")}
    totals = []
    for image in range(trace.images):
        models = {"prosperity_bit_sparse": Prosperity(False), "prosperity": Prosperity(True)}
        for costs in found.values():
            costs.append([])
        for layer in trace.layers:
            if not isinstance(layer, (Conv, Linear, Attention)) or trace.streams[layer.source].kind == "real":
                continue
            for name, model in models.items():
                counted = totals if name == "prosperity" else []
                found[name][-1].append(model.layer(trace, layer, image, counted))
            mixing = isinstance(layer, Attention)
            target = trace.streams[layer.target]
            tokens = target.tokens if layer.selector < 0 else trace.kept[layer.selector].shape[1]
            neurons = 0 if mixing and layer.form == "hadamard" else tokens * target.channels
            p = None if mixing else product_of(trace, layer, image)
            for name, model in BASELINES.items():
                found[name][-1].append(model(p, neurons, trace.numerics.timesteps))
    spikes, left, elements = (sum(part) for part in zip(*totals, strict=True)) if totals else (0, 0, 0)
    return found, spikes / elements if elements else None, left / elements if elements else None
