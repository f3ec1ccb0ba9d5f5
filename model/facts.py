"""What a ticket says of itself, in plain numbers and words: for tables, which know nothing of torch."""

import re
from collections.abc import Mapping
from typing import Any

from .counting import macs
from .ticket import Ticket


def ticket_facts(ticket: Ticket) -> dict[str, Any]:
    """What `analysis.compare.rows.TicketFacts` holds, but for a name."""
    config, record = ticket.config, ticket.provenance
    options = dict(re.findall(r"--([\w-]+) (\S+)", record.get("command", "")))
    selecting = bool(config.keep_counts)
    accuracies = [_number(record.get(f"{kind}_test_accuracy")) for kind in ("float", "integer")]
    complete = None not in accuracies
    return {
        "sha256": ticket.sha256,
        "neuron": config.neuron,
        "selector": config.selector if selecting else "none",
        "keep": float(config.keep) if selecting else 1.0,
        "shape": f"{config.depth}-{config.width}, T = {config.timesteps}",
        "round": _whole(record.get("round")),
        "seed": _whole(record.get("seed")),
        "schedule": _schedule(options),
        "tokens": ticket.kept_tokens,
        "weights": ticket.prunable,
        "weights_left": ticket.prunable - ticket.zeros,
        "parameters": ticket.trainable,
        "macs": macs(config),
        "accuracy_float": accuracies[0] if complete else None,
        "accuracy_integer": accuracies[1] if complete else None,
    }


def _schedule(options: Mapping[str, str]) -> str:
    """How a training prunes, from its command's options; "" where it does not."""
    gradual, share = _number(options.get("sparsity")), _number(options.get("prune"))
    if gradual:
        return f"gradually to {100 * gradual:.0f} %"
    return f"{100 * share:.0f} % a round" if share and options.get("rounds", "0") != "0" else ""


def _number(text: str | None) -> float | None:
    """None for what is missing or no number: provenance is text, and a foreign ticket's may say anything."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
