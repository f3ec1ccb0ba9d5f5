"""All peers on one trace: what each layer is, what it costs each of them, and what of the trace they leave out."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ... import __version__
from ..errors import UserError
from ..trace import Trace
from .baselines import eyeriss, mint, ptb, sato
from .cost import Cost, Peer, up
from .energy import PeerPrices, load_peer_prices
from .prosperity import ADDERS, Prosperity
from .workload import Mixing, Work, reason_left_out, works_of

SCHEMA_VERSION = 1

# name in files -> (name for people, what makes a fresh model of it)
PEERS: dict[str, tuple[str, Callable[[], Peer]]] = {
    "eyeriss": ("Eyeriss", lambda: eyeriss),
    "ptb": ("PTB", lambda: ptb),
    "sato": ("SATO", lambda: sato),
    "mint": ("MINT", lambda: mint),
    "prosperity_bit_sparse": ("Prosperity, bit-sparse", lambda: Prosperity(product=False).cost),
    "prosperity": ("Prosperity", lambda: Prosperity(product=True).cost),
}
TRAFFIC = "prosperity"  # whose DRAM traffic others' is a multiple of
NO_ATTENTION = ("eyeriss", "ptb", "sato", "mint")

Progress = Callable[[int, int], None]  # (images done, images)


@dataclass(frozen=True)
class Density:
    """Ones of the matrices that a layer multiplies, each counted once per tile of 128 outputs, as published.

    spikes: ones.  left: those that product sparsity leaves.  elements: rows x columns.
    """

    spikes: int = 0
    left: int = 0
    elements: int = 0

    def __add__(self, other: "Density") -> "Density":
        return Density(self.spikes + other.spikes, self.left + other.left, self.elements + other.elements)

    @property
    def bit(self) -> float | None:
        """Share of ones; None where nothing is multiplied."""
        return self.spikes / self.elements if self.elements else None

    @property
    def product(self) -> float | None:
        """Share of ones that are left with product sparsity."""
        return self.left / self.elements if self.elements else None


@dataclass(frozen=True)
class PeerLayer:
    """A layer as peers see it; spikes, graded and density are of all images, sizes of one.

    rows, columns, outputs: of the product spikes[rows, columns] x weights[columns, outputs], 0 of attention.
    spikes: ones after im2col, of attention those of q, k and v.  graded: events above 1, each taken for one spike.
    """

    name: str
    kind: str
    rows: int
    columns: int
    outputs: int
    neurons: int
    spikes: int
    graded: int
    density: Density


@dataclass(frozen=True)
class PeerRun:
    """What a trace costs one peer: by layer, all images together, and the cycles of each image."""

    name: str
    costs: tuple[Cost, ...]
    cycles_per_image: tuple[float, ...]

    @property
    def cycles(self) -> float:
        """All layers of all images."""
        return sum(cost.total for cost in self.costs)

    @property
    def dram_bits(self) -> int | None:
        """DRAM traffic that the model counts itself; None where it has no DRAM."""
        known = [cost.dram_bits for cost in self.costs if cost.dram_bits is not None]
        return sum(known) if known else None


@dataclass(frozen=True)
class PeersReport:
    """Published closed-form models on one trace. left_out: layer -> why no peer runs it."""

    images: int
    timesteps: int
    layers: tuple[PeerLayer, ...]
    left_out: Mapping[str, str]
    runs: Mapping[str, PeerRun]
    prices: PeerPrices
    trace_sha256: str
    trace_provenance: Mapping[str, str]

    @property
    def density(self) -> Density:
        """Of all layers together."""
        return sum((layer.density for layer in self.layers), Density())

    @property
    def priced_bits(self) -> tuple[int, ...]:
        """Prosperity's DRAM bits by layer."""
        return tuple(cost.dram_bits or 0 for cost in self.runs[TRAFFIC].costs)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict. All but `…_per_image` is of all images together."""
        return {
            "kind": "peers",
            "schema_version": SCHEMA_VERSION,
            "images": self.images,
            "timesteps": self.timesteps,
            "bit_density": self.density.bit,
            "product_density": self.density.product,
            "peers": {name: self._peer(run) for name, run in self.runs.items()},
            "layers": [self._layer(layer) for layer in self.layers],
            "left_out": dict(self.left_out),
            "provenance": {
                "program": f"sparsespike {__version__}",
                "trace_sha256": self.trace_sha256,
                "trace": dict(self.trace_provenance),
                "prices": self.prices.model_dump(mode="json"),
            },
        }

    def _peer(self, run: PeerRun) -> dict[str, Any]:
        return {
            "title": PEERS[run.name][0],
            "cycles": run.cycles,
            "cycles_per_image": list(run.cycles_per_image),
            **self._priced(run.name, run.cycles, sum(self.priced_bits)),
            "dram_bits": run.dram_bits,
            "layers": [
                {
                    "name": layer.name,
                    "cycles": cost.total,
                    "neuron_cycles": cost.neuron_cycles,
                    **self._priced(run.name, cost.total, bits),
                    "dram_bits": cost.dram_bits,
                }
                for layer, cost, bits in zip(self.layers, run.costs, self.priced_bits, strict=True)
            ],
        }

    def _priced(self, peer: str, cycles: float, prosperity_bits: int) -> dict[str, Any]:
        seconds = self.prices.seconds(cycles)
        return {
            "time_s": seconds,
            "dram_bits_charged": self.prices.charged_bits(peer, prosperity_bits),
            "energy_pj": self.prices.energy_pj(peer, seconds, prosperity_bits),
        }

    @staticmethod
    def _layer(layer: PeerLayer) -> dict[str, Any]:
        plain = {key: value for key, value in asdict(layer).items() if key != "density"}
        return plain | {"bit_density": layer.density.bit, "product_density": layer.density.product}


def run_peers(trace: Trace, images: int | None = None, progress: Progress | None = None) -> PeersReport:
    """Eyeriss, PTB, SATO, MINT and Prosperity, bit- and product-sparse, on each image of a trace by itself.

    images: only the first so many.  progress: called with (images done, images).
    Layers run one after the other. Convolutions become products by im2col; tokens that a selector dropped are gone;
    weights count as dense, and a value above 1 as one spike: the peers know neither pruning nor graded spikes.
    Raises UserError where neurons are ReLU, or where nothing in the trace reads spikes through weights or as q, k, v.
    """
    if trace.numerics.neuron == "relu":
        raise UserError("the trace is of an ANN, whose activations have 8 bits; peers take spikes")
    left_out = {layer.name: reason for layer in trace.layers if (reason := reason_left_out(trace, layer))}
    if len(left_out) == len(trace.layers):
        said = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UserError(f"no layer of this trace is one that peers run ({said})")
    count = trace.images if images is None else min(images, trace.images)
    layers: list[PeerLayer] = []
    costs: dict[str, list[Cost]] = {}
    cycles: dict[str, list[float]] = {name: [] for name in PEERS}
    for image in range(count):
        seen, spent = _run_image(trace, image)
        layers = [_with(*pair) for pair in zip(layers, seen, strict=True)] if layers else seen
        for name, new in spent.items():
            cycles[name].append(sum(cost.total for cost in new))
            costs[name] = [_sum(*pair) for pair in zip(costs[name], new, strict=True)] if name in costs else new
        if progress is not None:
            progress(image + 1, count)
    runs = {name: PeerRun(name, tuple(costs[name]), tuple(cycles[name])) for name in PEERS}
    shown = trace.numerics.timesteps, tuple(layers), left_out, runs, load_peer_prices()
    return PeersReport(count, *shown, trace.sha256, trace.provenance)


def _run_image(trace: Trace, image: int) -> tuple[list[PeerLayer], dict[str, list[Cost]]]:
    models = {name: make() for name, (_, make) in PEERS.items()}
    layers: list[PeerLayer] = []
    costs: dict[str, list[Cost]] = {name: [] for name in PEERS}
    for work in works_of(trace, image):  # one at a time: the spikes of all layers need not fit the memory
        layers.append(_describe(work))
        for name, model in models.items():
            costs[name].append(model(work))
    return layers, costs


def _describe(work: Work) -> PeerLayer:
    density = Density()
    for matrix in work.products:
        wide, tiles = up(matrix.outputs, ADDERS), matrix.tiles
        density += Density(tiles.spikes * wide, tiles.left * wide, matrix.rows * matrix.columns * wide)
    operand = work.operand
    if isinstance(operand, Mixing):
        spikes = sum(int(part.sum(dtype="int64")) for part in (operand.queries, operand.keys, operand.values))
        size = 0, 0, 0
    else:
        spikes, size = operand.spikes, (operand.rows, operand.columns, operand.outputs)
    return PeerLayer(work.name, work.kind, *size, work.neurons, spikes, work.graded, density)


def _with(layer: PeerLayer, other: PeerLayer) -> PeerLayer:
    """A layer on more images."""
    return replace(
        layer,
        spikes=layer.spikes + other.spikes,
        graded=layer.graded + other.graded,
        density=layer.density + other.density,
    )


def _sum(one: Cost, other: Cost) -> Cost:
    known = one.dram_bits is not None and other.dram_bits is not None
    bits = (one.dram_bits or 0) + (other.dram_bits or 0) if known else None
    return Cost(one.cycles + other.cycles, one.neuron_cycles + other.neuron_cycles, bits)
