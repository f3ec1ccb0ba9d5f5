"""From a recording to layers: who reads which spikes through which weights, and which neurons that drives."""

from .context import Context
from .drafts import Reading
from .fields import NotFollowedError
from .host import foreign_name
from .operators import read_mask, read_pool, read_product
from .places import Places
from .readout import give_head
from .sites import Sites
from .streams import Streams
from .synapses import read_synapse
from .tape import Tape
from .targets import give_targets

_READERS = {"synapse": read_synapse, "pool": read_pool, "product": read_product, "mask": read_mask}


def read(tape: Tape, size: tuple[int, int], sites: Sites, places: Places, *, refuse: bool) -> Reading:
    """The layers of a recorded model; none where operations without a counterpart would be refused.

    size: images, timesteps. Raises NotFollowedError where an element's place depends on the data.
    """
    context = Context(tape, sites, places, Streams(sites, places, *size))
    for value in tape.values:
        name = foreign_name(value)
        if name is not None and value.output == 0 and not value.fixed:
            context.foreign(name, value)
    if refuse and context.out.unsupported:
        return context.out
    try:
        _layers(context)
    except NotFollowedError:
        if refuse and context.out.unsupported:
            return context.out  # what it was that could not be followed behind
        raise
    return context.out


def _layers(context: Context) -> None:
    for site in context.sites:
        if site.kind in _READERS:
            _READERS[site.kind](context, site)
    for site in context.sites:
        if site.kind == "product" and site not in context.products:
            context.foreign("a product of two activations", *site.calls)
    if not context.out.layers:
        return
    give_targets(context)
    for stream in context.streams.found.values():
        if stream.made_by is not None and stream.made_by.kind == "mask" and stream.made_by not in context.products:
            context.foreign("a product of two activations", *stream.made_by.calls)
    give_head(context)
