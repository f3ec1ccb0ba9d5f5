"""What the readers of a recording share: its streams, the layers found so far, and what could not be understood."""

from dataclasses import dataclass, field, replace

from ...simulator.errors import UserError
from .currents import Drive, drive_of
from .drafts import LayerDraft, Reading
from .host import Foreign
from .places import Places
from .sites import Site, Sites
from .streams import Draft, Streams
from .tape import Tape
from .values import Value


@dataclass(eq=False)
class Context:
    """A recording being read.

    pending: layers whose neurons have not been met, by site.  products: those that are part of an attention.
    claimed: of layers whose outputs are several streams, those that have their neurons.
    """

    tape: Tape
    sites: Sites
    places: Places
    streams: Streams
    out: Reading = field(default_factory=Reading)
    pending: dict[Site, LayerDraft] = field(default_factory=dict)
    products: set[Site] = field(default_factory=set)
    claimed: dict[Site, list[range]] = field(default_factory=dict)

    def add(self, site: Site, layer: LayerDraft) -> None:
        """A layer whose neurons are still to be met."""
        self.pending[site] = layer
        self.out.layers.append(layer)

    def is_read(self, site: Site) -> bool:
        """Whether another layer, neuron or pool works on what a site makes."""
        readers = (other for other in self.sites if other is not site)
        return any(
            self.sites.anchor(parent) == site.number
            for other in readers
            for parent in other.value.parents
            if not parent.fixed
        )

    def maker(self, stream: Draft) -> LayerDraft | None:
        """The layer whose sums drive a stream's neurons alone."""
        drive = self.drive(stream)
        synapses = [term.site for term in drive.terms if term.site.kind == "synapse"]
        return self.pending.get(synapses[0]) if len(synapses) == len(drive.terms) == 1 else None

    def piece(self, layer: LayerDraft, stream: Draft) -> LayerDraft:
        """A layer's outputs that drive a stream: itself, or a layer of its own where they are a part."""
        if layer.weights is None or len(layer.weights) == stream.channels:
            return layer
        rows = slice(stream.shift, stream.shift + stream.channels)
        bias = None if layer.bias is None else layer.bias[rows]
        return replace(layer, name=f"{layer.name}.{stream.shift}", weights=layer.weights[rows], bias=bias)

    def claim(self, site: Site, stream: Draft) -> LayerDraft:
        """The layer whose neurons a stream is, from now on no longer pending but for the rest of its outputs."""
        layer = self.pending[site]
        piece = self.piece(layer, stream)
        if piece is layer:
            return self.pending.pop(site)
        self.out.layers.insert(self.out.layers.index(layer), piece)
        claimed = self.claimed.setdefault(site, [])
        claimed.append(range(stream.shift, stream.shift + stream.channels))
        if {row for part in claimed for row in part} == set(range(len(layer.weights))):  # type: ignore[arg-type]
            self.out.layers.remove(self.pending.pop(site))
        return piece

    def drive(self, stream: Draft) -> Drive:
        """What adds up to a stream's neurons."""
        if stream not in self.out.drives:
            carrier = stream.carrier
            value = carrier.parents[0] if carrier.op == "neuron" else carrier
            self.out.drives[stream] = drive_of(value, self.sites, self.places)
        return self.out.drives[stream]

    def foreign(self, operation: str, *calls: Value) -> None:
        """Note an operation that the chip has no counterpart for, one entry per module."""
        for call in calls:
            call.note["foreign"] = True
        known = self.out.unsupported
        name = calls[0].path or "(root)"
        for index, entry in enumerate(known):
            if (entry.name, entry.operation) == (name, operation):
                known[index] = Foreign(name, operation, tuple(dict.fromkeys(entry.calls + calls)))
                return
        known.append(Foreign(name, operation, calls))

    def refuse_recurrence(self, site: Site, stream: Draft) -> None:
        """Raises UserError where a layer's sums drive the neurons whose spikes of the timestep before it reads."""
        last = max(stream.carriers, key=lambda value: value.serial)
        value = last.parents[0] if last.op == "neuron" else last
        if any(term.site is site for term in drive_of(value, self.sites, self.places).terms):
            raise UserError(
                f"module {site.path or '(root)'!r}: reads spikes of the timestep before (a recurrent connection); the "
                "chip works through all timesteps of a layer before the next layer's, so that it has none"
            )

    def reason(self, path: str, text: str) -> None:
        """Why no integer network can be derived."""
        self.out.reasons.append(f"{path or '(root)'}: {text}")
