"""What was found and may be asked for again: neighbours in a design space share most of what they need."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Found = TypeVar("Found")


def remember(memory: dict[Any, Any], shelf: Hashable, key: Hashable, make: Callable[[], Found], most: int) -> Found:
    """What stands under `key` on a shelf of `memory`, made where it is not there; the shelf keeps the last `most`."""
    kept: OrderedDict[Hashable, Found] = memory.setdefault(shelf, OrderedDict())
    if key in kept:
        kept.move_to_end(key)
        return kept[key]
    found = kept[key] = make()
    while len(kept) > most:
        kept.popitem(last=False)
    return found
