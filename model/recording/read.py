"""From a recording to layers: who reads which spikes through which weights, and which neurons that drives."""

import contextlib

from .context import Context
from .currents import is_sum
from .drafts import Reading
from .fields import NotFollowedError
from .host import Foreign
from .operators import read_mask, read_pool, read_product
from .places import Places
from .readout import give_head
from .sites import Sites
from .streams import Streams
from .synapses import read_synapse
from .tape import Tape
from .targets import give_targets, name_undriven
from .unmapped import unmapped
from .values import Value

_READERS = {"synapse": read_synapse, "pool": read_pool, "product": read_product, "mask": read_mask}


def read(tape: Tape, images: int, *, refuse: bool) -> Reading:
    """The layers of a recorded model; those are not to be used where operations without a counterpart are refused.

    Raises NotFollowedError where an element's place depends on the data, unless an operation can be named that is
    refused anyway.
    """
    sites = Sites(tape.values)
    places = Places(sites.call_of)
    context = Context(tape, sites, places, Streams(sites, places, images, 0))
    for name, value in unmapped(tape, sites):
        context.foreign(name, value)
    try:
        context.out.timesteps = context.streams.timesteps = places.timesteps(tape.values)
        _layers(context)
    except NotFollowedError as error:
        if not (refuse and context.out.unsupported):
            raise
        context.out.lost = error.value
    return context.out


def _layers(context: Context) -> None:
    for site in context.sites:
        if site.kind in _READERS:
            _READERS[site.kind](context, site)
    for site in context.sites:
        if site.kind == "product" and site not in context.products:
            context.foreign("a product of two activations", *site.calls)
    for entry in context.out.unsupported:
        _read_by_host(context, entry)
    if not context.out.layers:
        return
    give_targets(context)
    for stream in context.streams.found.values():
        if stream.made_by is not None and stream.made_by.kind == "mask" and stream.made_by not in context.products:
            context.foreign("a product of two activations", *stream.made_by.calls)
    name_undriven(context)
    give_head(context)


def _read_by_host(context: Context, entry: Foreign) -> None:
    """Spikes that the host reads are a stream like those that a layer reads: whoever makes them is a layer."""
    operands: dict[tuple[object, ...], list[Value]] = {}  # of several places in a module each on its own
    for call in entry.calls:
        site = context.sites.of(call)
        if site is None or site.kind == "product":  # of others the reader has taken them
            for position, parent in enumerate(call.parents):
                operands.setdefault((call.op, position, context.sites.anchor(parent)), []).append(parent)
    for values in operands.values():
        if all(value.spiking and not value.from_input and not is_sum(value, context.sites) for value in values):
            with contextlib.suppress(NotFollowedError):  # then nothing but the host can make them, either
                context.streams.take(values, f"out:{entry.name}")
