"""Sections P and R: who owns a channel, what a row of weights looks like, and how long an event keeps a core busy."""

from dataclasses import dataclass
from fractions import Fraction

PADDING = None


def ceil_div(a, b):
    """Integer division, rounded up."""
    return (a + b - 1) // b


def owned_channels(channels, core, cores):
    """P1: the channels of a layer that belong to a core."""
    return [c for c in range(channels) if c * cores // channels == core]


def exact(decimal):
    """A chip file's decimal as it stands."""
    return Fraction(str(decimal))


@dataclass
class Row:
    """R1: entries are local output numbers, or PADDING; words is R2; first is the address of its first word."""

    entries: list
    weights: int
    words: int
    first: int = 0


@dataclass
class Service:
    """R3 and R4 of one event on one core."""

    fetch: int = 0
    accumulate: int = 0
    groups: int = 0
    entries: int = 0
    words: int = 0
    weights: int = 0
    taps: int = 0

    def cycles(self):
        """R4."""
        return max(1, self.fetch, self.accumulate)

    def causes(self):
        """R4: how these cycles divide."""
        split = {
            "COMPUTE": self.groups,
            "BANK_CONFLICT": self.accumulate - self.groups,
            "WEIGHT_FETCH": max(0, self.fetch - self.accumulate),
        }
        split["CONTROL"] = self.cycles() - sum(split.values())
        return split


class CoreWeights:
    """The rows of one layer on one core."""

    def __init__(self, weights, core, chip):
        self.chip = chip.core
        self.taps = weights.taps
        self.owned = owned_channels(weights.output_channels, core, chip.mesh.columns * chip.mesh.rows)
        self.rows = []
        if self.owned:
            local = {output: number for number, output in enumerate(self.owned)}
            for index in range(weights.input_channels * weights.taps):
                begin, end = int(weights.pointers[index]), int(weights.pointers[index + 1])
                outputs = [int(output) for output in weights.outputs[begin:end]]
                self.rows.append(self._row(sorted(local[output] for output in outputs if output in local)))
        address = 0
        for row in self.rows:  # R2: one after the other without gap
            row.first = address
            address += row.words
        self.words = address
        self.pointers = 0 if self.chip.weight_format == "dense" else len(self.rows)
        self._known = {}

    def _row(self, outputs):
        core = self.chip
        width = core.weight_word_bits
        if core.weight_format == "dense":
            count = len(self.owned)
            return Row(list(range(count)), count, ceil_div(count, width // core.weight_bits))
        if core.weight_format == "bitmap":
            bits = len(self.owned) + len(outputs) * core.weight_bits
            return Row(outputs, len(outputs), ceil_div(bits, width))
        entries, before = [], -1
        for output in outputs:
            run = output - before - 1
            while run > 2**core.index_bits - 1:
                entries.append(PADDING)
                run -= 2**core.index_bits
            entries.append(output)
            before = output
        per_word = width // (core.weight_bits + core.index_bits)
        return Row(entries, len(outputs), ceil_div(len(entries), per_word))

    def service(self, channel, valid_taps):
        """R3: an event of an input channel through the valid taps."""
        key = (channel, valid_taps)
        if key not in self._known:
            self._known[key] = self._service([self.rows[channel * self.taps + tap] for tap in valid_taps])
        return self._known[key]

    def _service(self, rows):
        per_bank = [0] * self.chip.weight_banks
        for row in rows:
            for word in range(row.first, row.first + row.words):
                per_bank[word % self.chip.weight_banks] += 1
        entries = [entry for row in rows for entry in row.entries]
        groups = [entries[at : at + self.chip.lanes] for at in range(0, len(entries), self.chip.lanes)]
        accumulate = 0
        for group in groups:
            wanted = [0] * self.chip.accumulator_banks
            for entry in group:
                if entry is not PADDING:
                    wanted[entry % self.chip.accumulator_banks] += 1
            accumulate += max(1, max(wanted))
        return Service(
            fetch=max(per_bank),
            accumulate=accumulate,
            groups=len(groups),
            entries=len(entries),
            words=sum(row.words for row in rows),
            weights=sum(row.weights for row in rows),
            taps=len(rows),
        )


def valid_taps(token, stream, kernel):
    """R5: taps through which an event at this token reaches an output inside the map; a linear layer has kernel 1."""
    y, x = divmod(token, stream.width)
    pad = kernel // 2
    valid = []
    for ky in range(kernel):
        for kx in range(kernel):
            if 0 <= y - ky + pad < stream.height and 0 <= x - kx + pad < stream.width:
                valid.append(ky * kernel + kx)
    return tuple(valid)


def closed_outputs(token, stream, kernel):
    """C4: how many outputs of a convolution the end of this input token closes."""
    pad = kernel // 2
    here = divmod(token, stream.width)
    count = 0
    for y in range(stream.height):
        for x in range(stream.width):
            if (min(y + pad, stream.height - 1), min(x + pad, stream.width - 1)) == here:
                count += 1
    return count
