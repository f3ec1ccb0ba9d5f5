"""What is in a file, in one column."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..simulator.trace import Trace
from .tables import Table, percent, percent_pruned
from .views import host_line, level_line

NEURONS = {"lif": "spiking", "relu": "ReLU, 8 bits"}
LONGEST_CELL = 64  # of provenance, in characters: a checksum


def trace_table(path: Path, trace: Trace) -> Table:
    """What is in a trace."""
    events = [stream.events for stream in trace.streams.values() if stream.events is not None]
    weights = [layer.weights for layer in trace.layers if hasattr(layer, "weights")]
    nonzeros, size = sum(w.nonzeros for w in weights), sum(w.size for w in weights)
    pruned = f" ({percent_pruned(1 - nonzeros / size)} pruned)" if size else ""
    rows = {
        "images": f"{trace.images:,}",
        "layers": f"{len(trace.layers)}",
        "neurons": NEURONS[trace.numerics.neuron],
        "timesteps": f"{trace.numerics.timesteps}",
        "spikes": f"{sum(len(event.channels) for event in events):,}",
        "weights left": f"{nonzeros:,} of {size:,}{pruned}",
        "tokens kept": "/".join(str(kept.shape[1]) for kept in trace.kept) or "all",
        "accuracy": percent(trace.accuracy()),
        "level": trace.level,
        "checksum": trace.sha256[:16],
    }
    notes = level_line(trace.level, trace.replay_reason), host_line([vars(work) for work in trace.host])
    return Table(f"trace {path.name}", ("what", "value"), tuple(rows.items()), "\n".join(filter(None, notes)))


def provenance_view(record: Mapping[str, Any]) -> tuple[Table | str, ...]:
    """Where a file comes from: a table, and below it values too long for a cell, a command say, to be copied whole."""
    plain = {key: str(value) for key, value in record.items() if not isinstance(value, Mapping)}
    short = tuple((key, text) for key, text in plain.items() if len(text) <= LONGEST_CELL)
    lines = [f"{key}:\n{text}\n" for key, text in plain.items() if len(text) > LONGEST_CELL]
    return Table("Provenance", ("what", "value"), short), *lines
