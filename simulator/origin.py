"""Where the numbers of a chip file come from, and how far the chip is like a published one.

None of it is hardware: two chips that differ in nothing else are the same chip, and what is simulated cannot depend on
it. A file that claims to be like a published chip must say of every number where it comes from.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from .errors import nearest
from .sourced import Words
from .validation import Part

SourceKind = Literal["published", "quoted second-hand", "derived", "assumed", "chosen"]

CHANGED = "set in place of the file's value"


class Source(Part):
    """Where numbers of a chip file come from.

    kind: published (its document was read), quoted second-hand (by another than its document), derived (worked out from
    such numbers, in `source`), assumed (the document does not say, or was not read), chosen (for a part that this model
    has and the published chip has not, or for a chip that is nobody else's).
    keys: of the numbers, dotted; without any, all that no other entry names.
    """

    kind: SourceKind
    source: Words
    keys: Annotated[tuple[str, ...], Field(strict=False)] = ()


class Fidelity(Part):
    """How far a chip is like a published one: what this model has of it, and what not.

    has, lacks: in a few words, for a line under every result.  text: the whole of it.
    holds: workloads that fit into its memories as they are, by the names that README.md and the tests use.
    """

    to: str = Field(min_length=4)
    has: Words
    lacks: Words
    holds: Annotated[tuple[str, ...], Field(strict=False)]
    text: str = Field(min_length=100)


def named_keys(sources: object) -> list[tuple[str, ...]]:
    """The keys that each entry of `[[sources]]` names, as they stand in the file; entries that name none rightly are
    left out.

    So that these faults are found beside those of an entry's other parts.
    """
    entries = sources if isinstance(sources, list | tuple) else ()
    plain = [vars(entry) if isinstance(entry, Source) else entry for entry in entries]
    found = [entry.get("keys", ()) for entry in plain if isinstance(entry, dict)]
    return [tuple(keys) for keys in found if isinstance(keys, list | tuple) and all(isinstance(k, str) for k in keys)]


def source_faults(sources: Sequence[Sequence[str]], keys: Sequence[str], required: Sequence[str]) -> list[str]:
    """What is wrong with where numbers come from: keys that are none, or named twice, or not at all.

    sources: the keys that each entry names.  keys: of all numbers that a chip file may have.
    required: those that must be named one by one; often none.
    """
    named = Counter(key for source in sources for key in source)
    faults = [f"sources: {key}: unknown key; {nearest(key, keys)}" for key in named if key not in keys]
    faults += [f"sources: {key}: named {count} times" for key, count in named.items() if count > 1 and key in keys]
    rest = sum(not source for source in sources)
    if rest > 1:
        faults.append(f"sources: {rest} entries without keys; one may stand for all numbers that no other names")
    missing = [key for key in required if key not in named]
    if required and rest:
        faults.append("sources: an entry without keys; a chip with [fidelity] names every number")
    if missing:
        faults.append(f"sources: nothing about {', '.join(missing)}; a chip with [fidelity] names every number")
    return faults


def changed_sources(sources: Sequence[Source], changed: Iterable[str]) -> list[Source]:
    """The sources of a chip after some of its numbers have been changed: these are the changer's choice from then on.

    Nothing where there are no sources.
    """
    if not sources:
        return []
    before = {key for source in sources if source.source == CHANGED for key in source.keys}
    new = before | set(changed)
    kept = []
    for source in sources:
        left = tuple(key for key in source.keys if key not in new)
        if left or not source.keys:
            kept.append(source.model_copy(update={"keys": left}))
    return [*kept, Source(kind="chosen", source=CHANGED, keys=tuple(sorted(new)))] if new else kept
