"""What a ticket says of itself, in plain numbers and words: for tables, which know nothing of torch."""

import math
import re
from collections.abc import Mapping
from typing import Any

from .counting import macs, sparsity
from .ticket import Ticket

# Options of `train` that are no part of what makes trainings one: seeds and rounds are of the same, where it ran is
# nothing to the result but last bits, and what the network is stands in its configuration.
_NO_PART = {"seed", "rounds", "out", "start", "teacher", "threads", "device", "data-folder", "recipe"}
_CONFIGURED = {"keep", "selector", "activation", "neuron", "timesteps", "width", "depth"}


def ticket_facts(ticket: Ticket, test_images: int) -> dict[str, Any]:
    """What `analysis.compare.rows.TicketFacts` holds, but for a name.

    test_images: size of the whole test split; accuracies that were recorded on another number of images do not count.
    """
    config, record = ticket.config, ticket.provenance
    options = dict(re.findall(r"--([\w-]+) (\S+)", record.get("command", "")))
    selecting = bool(config.keep_counts)
    accuracies = [_share(record.get(f"{kind}_test_accuracy")) for kind in ("float", "integer")]
    complete = None not in accuracies and _whole(record.get("test_images")) == test_images
    return {
        "sha256": ticket.sha256,
        "neuron": config.neuron,
        "selector": config.selector if selecting else "none",
        "keep": float(config.keep) if selecting else 1.0,
        "shape": f"{config.depth}-{config.width}, T = {config.timesteps}",
        "activation": config.activation if selecting and config.selector == "learned" else "",
        "round": _whole(record.get("round")),
        "seed": _whole(record.get("seed")),
        "schedule": _schedule(options),
        "training": _training(options),
        "tokens": ticket.kept_tokens,
        "weights": ticket.prunable,
        "weights_left": ticket.prunable - ticket.zeros,
        "pruned_of_all": sparsity(config, ticket.zeros, paper_counting=True).of_all,
        "macs": macs(config),
        "accuracy_float": accuracies[0] if complete else None,
        "accuracy_integer": accuracies[1] if complete else None,
    }


def _training(options: Mapping[str, str]) -> dict[str, str]:
    """The options that tell one training from another; of teacher and start only whether there is one."""
    plain = {name: text for name, text in sorted(options.items()) if name not in _NO_PART | _CONFIGURED}
    return plain | {name: "yes" for name in ("start", "teacher") if name in options}


def _schedule(options: Mapping[str, str]) -> str:
    """How a training prunes, from its command's options; "" where it does not."""
    gradual, share = _share(options.get("sparsity")), _share(options.get("prune"))
    if gradual:
        return f"gradually to {100 * gradual:.0f} %"
    return f"{100 * share:.0f} % a round" if share and options.get("rounds", "0") != "0" else ""


def _share(text: str | None) -> float | None:
    """None for what is no number from 0 to 1: provenance is text, and a foreign ticket's may say anything."""
    try:
        number = math.nan if text is None else float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


def _whole(text: str | None) -> int | None:
    """None for what is missing or no whole number of a plausible length."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 20 else None
