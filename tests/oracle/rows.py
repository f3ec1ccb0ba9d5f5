"""Section R: what a row of weights looks like, and how long an event keeps a core busy."""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

PADDING = None


def ceil_div(a, b):
    """Integer division, rounded up."""
    return (a + b - 1) // b


def exact(decimal):
    """A chip file's decimal as it stands."""
    return Fraction(str(decimal))


@dataclass
class Row:
    """R1, R2: entries are local output numbers, or PADDING; lies_in is the word of the row that ends each entry."""

    entries: list
    lies_in: list
    words: int
    first: int = 0  # address of its first word

    @property
    def weights(self):
        """Entries that are no padding."""
        return sum(entry is not PADDING for entry in self.entries)


@dataclass(frozen=True)
class Service:
    """R3 and R4 of one event on one core: its cycles, each with its cause, and what it reads and adds."""

    causes: Counter
    words: int
    weights: int
    taps: int

    @property
    def cycles(self):
        """R4."""
        return sum(self.causes.values())


class CoreWeights:
    """The rows of one layer on a core that owns these outputs."""

    def __init__(self, weights, owned, chip):
        self.chip, self.taps, self.owned = chip.core, weights.taps, owned
        self.rows = []
        if owned:
            local = {output: number for number, output in enumerate(owned)}
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
        """R1, R2."""
        core, owned = self.chip, len(self.owned)
        if core.weight_format == "bitmap":  # bits in front, weights behind them, over the borders of words
            last_bits = [owned + (number + 1) * core.weight_bits - 1 for number in range(len(outputs))]
            words = ceil_div(owned + len(outputs) * core.weight_bits, core.weight_word_bits)
            return Row(outputs, [bit // core.weight_word_bits for bit in last_bits], words)
        entries, bits = list(range(owned)), core.weight_bits
        if core.weight_format == "csr":
            entries, bits = self._runs(outputs), core.weight_bits + core.index_bits
        per_word = core.weight_word_bits // bits
        return Row(entries, [number // per_word for number in range(len(entries))], ceil_div(len(entries), per_word))

    def _runs(self, outputs):
        """R1: padding wherever a run does not fit the index."""
        entries, before = [], -1
        for output in outputs:
            run = output - before - 1
            while run > 2**self.chip.index_bits - 1:
                entries.append(PADDING)
                run -= 2**self.chip.index_bits
            entries.append(output)
            before = output
        return entries

    def service(self, channel, valid_taps, times=1, lanes=None):
        """R4: an event of an input channel through the valid taps, in so many timesteps."""
        key = (channel, valid_taps, times, lanes)
        if key not in self._known:
            rows = [self.rows[channel * self.taps + tap] for tap in valid_taps]
            self._known[key] = self._service(rows, times, lanes or self.chip.lanes)
        return self._known[key]

    def _service(self, rows, times, lanes):
        addresses = [row.first + word for row in rows for word in range(row.words)]
        entries, needs, words_before = [], [], 0
        for row in rows:
            entries += row.entries
            needs += [words_before + word + 1 for word in row.lies_in]
            words_before += row.words
        groups = []
        for at in range(0, len(entries), lanes):
            group = entries[at : at + lanes]
            groups.append((max(needs[at : at + lanes]), self._passes(group)))
        causes = stream(addresses, groups, self.chip.weight_banks, times)
        return Service(causes, len(addresses), sum(row.weights for row in rows), len(rows))

    def _passes(self, group):
        """R3: m(g)."""
        wanted = [0] * self.chip.accumulator_banks
        for entry in group:
            if entry is not PADDING:
                wanted[entry % self.chip.accumulator_banks] += 1
        return max(1, *wanted)


def stream(addresses, groups, banks, times):
    """R3, R4 cycle by cycle: words come in order, groups (words needed, m) are added when theirs are there; causes."""
    causes, read, todo = Counter(), 0, []
    waiting = list(groups)
    while read < len(addresses) or waiting or todo:
        busy_banks = set()  # what is read in this cycle can be added in the next
        while read < len(addresses) and addresses[read] % banks not in busy_banks:
            busy_banks.add(addresses[read] % banks)
            read += 1
        if not todo and waiting and waiting[0][0] <= read:
            todo = (["COMPUTE"] + ["BANK_CONFLICT"] * (waiting.pop(0)[1] - 1)) * times
        causes[todo.pop(0) if todo else "WEIGHT_FETCH"] += 1
    return causes or Counter(CONTROL=1)
