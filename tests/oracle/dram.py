"""Section D: what comes from DRAM, when it may, and when it is there."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from sparsespike.simulator.trace import Conv, Linear

from .rows import exact
from .windows import both, open_outputs, pool_of, view_of


@dataclass
class Transfer:
    """A transfer in the channel's order; allowed is None as long as it is unknown."""

    key: tuple
    bytes: int
    words: int
    pointers: int
    allowed: int | None = None
    done: int | None = None


class Memory:
    """The channel, and the sizes of what it brings."""

    def __init__(self, setting, resident=None):
        self.setting, self.chip = setting, setting.chip
        layers = range(len(setting.trace.layers))
        self.words = [
            [w.words for w in setting.weights[i]] if setting.weights[i] else [0] * setting.cores for i in layers
        ]
        self.pointers = [
            [w.pointers for w in setting.weights[i]] if setting.weights[i] else [0] * setting.cores for i in layers
        ]
        self.selector = [setting.selector_bytes(layer) for layer in setting.trace.layers]
        self.weighty = [i for i in layers if sum(self.words[i]) + sum(self.pointers[i]) + self.selector[i]]
        self.resident = self.fits(list(layers)) if resident is None else resident  # L3
        self.free = 0
        self.waiting = []
        self.known = {}
        for image in range(setting.trace.images):
            for layer in layers:
                self._plan(image, layer)

    def fits(self, layers):
        """D3: whether these layers' weights fit together, on every core and in the token unit."""
        core = self.chip.core
        per_bank = floor(exact(core.weight_kib) * 8192 / (core.weight_word_bits * core.weight_banks))
        for p in range(self.setting.cores):
            if sum(self.words[i][p] for i in layers) > per_bank * core.weight_banks:
                return False
            if 4 * sum(self.pointers[i][p] for i in layers) > exact(core.pointer_kib) * 1024:
                return False
        return sum(self.selector[i] for i in layers) <= exact(self.chip.token_unit.weight_kib) * 1024

    def cycles(self, size):
        """D1."""
        if size == 0:
            return 0
        dram, clock = self.chip.dram, exact(self.chip.clock_mhz)
        latency = ceil(exact(dram.latency_ns) * clock / 1000)
        per_cycle = exact(dram.bandwidth_gb_s) * 1000 / clock
        return latency + ceil(Fraction(self.bursts(size)) / per_cycle)

    def bursts(self, size):
        """D1: B'."""
        burst = self.chip.dram.burst_bytes
        return (size + burst - 1) // burst * burst

    def _plan(self, image, layer):
        """D2, D3: a layer's transfer, in the order of the channel."""
        size = words = pointers = 0
        if image == 0 or not self.resident:
            words, pointers = sum(self.words[layer]), sum(self.pointers[layer])
            size = self._weight_bytes(layer) + self.selector[layer]
        if layer == 0 and self.setting.trace.pixels is not None:
            size += self.setting.trace.pixels[image].size
        if size == 0:
            return
        transfer = Transfer((image, layer), size, words, pointers)
        if image == 0 and (self.resident or layer == self.weighty[0]):
            transfer.allowed = 0
        self.waiting.append(transfer)
        self.known[image, layer] = transfer

    def _weight_bytes(self, layer):
        """D2: what all cores of a layer cut by tokens have comes once."""
        merge = max if self.setting.placement.by_tokens(self.setting.trace.layers[layer]) else sum
        bits = merge(self.words[layer]) * self.chip.core.weight_word_bits
        return (bits + 7) // 8 + 4 * merge(self.pointers[layer])

    def _start_head(self):
        """D4: the next transfer in the order takes the channel."""
        transfer = self.waiting.pop(0)
        transfer.done = max(self.free, transfer.allowed) + self.cycles(transfer.bytes)
        self.free = transfer.done

    def arrival(self, image, layer):
        """D4: the cycle after the end of a layer's transfer; 0 for a layer without."""
        transfer = self.known.get((image, layer))
        while transfer and transfer.done is None:
            self._start_head()
        return transfer.done + 1 if transfer else 0

    def layer_started(self, image, layer, start, spilled):
        """D5: the spill's turn; then D3 for the transfer behind. Returns the end of the spill, 0 without one."""
        end = 0
        if spilled:
            while self.waiting and self.waiting[0].allowed is not None and self.waiting[0].allowed < start:
                self._start_head()
            end = self.free = max(self.free, start) + self.cycles(spilled)
        self._allow(image, layer, start, together=True)
        return end

    def layer_ended(self, image, layer, end):
        """D3: what may come from now on."""
        self._allow(image, layer, end, together=False)
        pixels = self.known.get((image + 1, 0))
        if self.resident and layer == 0 and pixels:
            pixels.allowed = end

    def _allow(self, image, layer, cycle, together):
        if self.resident or layer not in self.weighty:
            return
        place = self.weighty.index(layer)
        follows = (image, self.weighty[place + 1]) if place + 1 < len(self.weighty) else (image + 1, self.weighty[0])
        if follows in self.known and self.fits([layer, follows[1]]) == together:
            self.known[follows].allowed = cycle

    def spill(self, index, image):
        """D5: bytes that do not fit, each way."""
        spikes = potentials = 0
        core = self.chip.core
        for p in range(self.setting.cores):
            spikes += max(0, (self.spike_bits(index, p) + 7) // 8 - floor(exact(core.spike_kib) * 1024))
            bits = self.potential_bits_held(index, image, p)
            potentials += max(0, (bits + 7) // 8 - floor(exact(core.potential_kib) * 1024))
        return self.bursts(spikes + potentials * (len(self.setting.batches) - 1))

    def spike_bits(self, index, core):
        """D5: what lies in a core's spike memory while a layer runs."""
        setting, layers = self.setting, self.setting.trace.layers
        layer = layers[index]
        held = {layer.source, layer.target, layer.residual}
        for name in setting.trace.streams:
            writer = setting.writers.get(name)
            exists = writer is None or layers.index(writer) < index
            if exists and any(name in (later.source, later.residual) for later in layers[index + 1 :]):
                held.add(name)
        bits = 0
        for name in held - {""}:
            stream = setting.trace.streams[name]
            if stream.kind == "real":
                bits += stream.height * stream.width * stream.channels * 8
            else:
                values = setting.held(name)["core", core] + setting.placement.kept_copies(name, index)[core]
                bits += setting.timesteps * values * setting.bits(name)
        return bits

    def potential_bits_held(self, index, image, core):
        """D5, M2: what lies in a core's potential memory while a layer runs."""
        setting, layer = self.setting, self.setting.trace.layers[index]
        if setting.ann or not isinstance(layer, (Conv, Linear)):
            return 0
        if self.chip.core.order == "time_outer":
            tokens = setting.tokens(layer, image)[0]
            if setting.placement.by_tokens(layer):
                cores = setting.placement.token_cores(layer)
                tokens = [token for token in tokens if cores[token] == core]
            places = len(tokens)
            if isinstance(layer, Conv):
                target = setting.trace.streams[layer.target]
                places = target.height * target.width
        elif isinstance(layer, Linear):
            places = self.chip.core.contexts
        else:
            source = setting.source(layer)
            places = open_outputs(both(view_of(layer, source), pool_of(layer, source)), self.chip.core.contexts)
        return len(setting.weights[index][core].owned) * self.chip.core.potential_bits * places
