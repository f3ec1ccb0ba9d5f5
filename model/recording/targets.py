"""Which neurons a layer's sums drive, and which other spikes are added to theirs."""

import contextlib

from .context import Context
from .currents import is_sum
from .drafts import LayerDraft
from .fields import NotFollowedError, of_chip_alone
from .pooling import pool_sums
from .readout import averaged
from .sites import Site
from .streams import Draft, carriers_of
from .values import Value


def give_targets(context: Context) -> None:
    """Give every layer the stream that its sums drive."""
    found = context.streams.found
    for layer in context.out.layers:
        if layer.kind == "pool":
            layer.target = context.streams.holding(frozenset(layer.sites[0].calls))
    for site in context.sites:
        if site.kind == "neuron":
            with of_chip_alone():
                context.streams.take(site.calls, site.path)
    for value in context.tape.outputs:
        _output(context, value)
    for stream in list(found.values()):
        if stream.spikes is not None and not any(layer.target is stream for layer in context.out.layers):
            _target(context, stream)
    for stream in list(found.values()):
        _residual(context, stream)


def name_undriven(context: Context) -> None:
    """Name neurons that spikes reach without any weights: no layer of the chip makes theirs."""
    for stream in list(context.streams.found.values()):
        known = stream.made_by is not None and stream.made_by.kind == "neuron"
        if stream.spikes is None or stream.carrier.from_input or (known and stream.carrier.parents[0].from_input):
            continue
        if stream.carrier.op in ("sum", "mean"):
            continue  # no neurons: what a head reads
        drive = context.drive(stream)
        sums = [value for value in drive.odd if value.op in ("sum", "mean")]
        if any(term.site.kind in ("synapse", "product", "mask") for term in drive.terms) or not (known or sums):
            continue
        if any(value.note.get("foreign") for value in drive.odd + [term.site.value for term in drive.terms]):
            continue  # named already
        read = f"the {sums[0].op} of spikes" if sums else "spikes"
        calls = stream.made_by.calls if stream.made_by is not None else [stream.carrier]
        context.foreign(f"neurons that read {read} without weights", *calls)


def _output(context: Context, value: Value) -> None:
    """Spikes that the model returns, or the mean of which it returns, are a stream though no layer reads them."""
    average = averaged(value)
    spikes = value if average is None else average.whole
    if spikes.spiking and not is_sum(spikes, context.sites):
        with contextlib.suppress(NotFollowedError):  # numbers that a readout made of spikes: classes, say
            context.streams.take([spikes], "out")


def _target(context: Context, stream: Draft) -> None:
    site = stream.carrier
    drive = context.drive(stream)
    sites = list(dict.fromkeys(term.site for term in drive.terms if term.site in context.pending))
    masked = context.sites.of(site)
    if masked is not None and masked.kind == "mask" and masked in context.pending:
        sites = [masked]
    if sites and not _added(context, stream):
        layer = context.claim(sites[-1], stream)
        note_drive(context, layer, stream, sites[-1])
        if layer.grid[0] * layer.grid[1] != stream.tokens:
            between = ", ".join(f"{value.op} in {value.path or '(root)'}" for value in layer.odd)
            through = f"through {between}" if between else "over several tokens"
            context.reason(stream.name, f"its neurons take the sums of {layer.name!r} {through}")
            return
        layer.target = stream
        for other in sites[:-1]:  # sums of several layers in one neuron: the last of them fires it
            context.pending.pop(other, None)


def note_drive(context: Context, layer: LayerDraft, stream: Draft, site: Site) -> None:
    """Note how a layer's sums become a stream's spikes."""
    drive = context.drive(stream)
    term = next((term for term in drive.terms if term.site is site), None)
    if term is None or layer.kind == "hadamard":  # whose neurons, behind the sum over tokens, are noted already
        return
    if len({part.site for part in drive.terms}) > 1:
        others = ", ".join(dict.fromkeys(part.site.path for part in drive.terms if part.site is not site))
        context.reason(stream.name, f"its neurons add the sums of several layers (also {others}): a membrane shortcut")
    layer.gain, layer.offset = term.gain.numpy(), term.offset.numpy()
    odd = list(drive.odd)
    for pool in reversed(term.pools):  # the first of them behind the sums
        if odd or not pool_sums(layer, pool):
            odd.append(pool)
    layer.odd = tuple(odd)
    layer.neurons = (stream.made_by,) if stream.made_by is not None and stream.made_by.kind == "neuron" else ()


def _added(context: Context, stream: Draft) -> bool:
    return all(carrier.op == "add" for carrier in stream.carriers)


def _residual(context: Context, stream: Draft) -> None:
    """A stream that is another one plus a layer's spikes: the layer writes the sum."""
    if stream.spikes is None or not _added(context, stream):
        return
    carrier = stream.carrier
    parts = [_stream_of(context, parent) for parent in carrier.parents]
    if len(parts) != 2 or None in parts or float(carrier.keywords.get("alpha", 1)) != 1:
        context.reason(carrier.path, "adds spikes in a way that is not understood")
        return
    for fired, kept in (parts, parts[::-1]):
        layer = next((layer for layer in context.out.layers if layer.target is fired and layer.residual is None), None)
        read = any(layer.source is fired or layer.residual is fired for layer in context.out.layers)
        if layer is not None and layer.kind != "pool" and not read and _before(context, kept, layer):
            layer.residual, layer.target = kept, stream
            return
    context.reason(carrier.path, "adds spikes that are also read on their own")


def _before(context: Context, stream: Draft | None, layer: LayerDraft) -> bool:
    """Whether a stream is there before a layer runs."""
    for other in context.out.layers:
        if other is layer:
            return stream is None or not any(
                later.target is stream for later in context.out.layers[context.out.layers.index(layer) :]
            )
    return False


def _stream_of(context: Context, value: Value) -> Draft | None:
    """The stream that a value is part of, one call of it."""
    return context.streams.holding(carriers_of(value))
