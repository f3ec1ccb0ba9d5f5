"""The workload `mlp` on SANA-FE: 384 spike trains -> 1536 LIF -> 384 LIF, 10 % random weights, its Loihi preset.

Runs alone, with numpy and sanafe only, in the bench's side environment: yes | python sanafe_mlp.py --runs 3
Builds and loads the chip, says so in a line of JSON, then runs once for each line on stdin and answers with another;
`seconds` is chip.sim alone.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUTS, HIDDEN, TIMESTEPS = 384, 1536, 100
DENSITY, RATE, THRESHOLD = 0.1, 0.2, 10.0


@dataclass(frozen=True)
class Network:
    """What both simulators run.

    masks: bool[inputs, outputs] of both layers.  weights: float64[inputs, outputs], those that a mask drops included.
    spikes: bool[timesteps, inputs].
    """

    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    weights: tuple[NDArray[np.float64], NDArray[np.float64]]
    spikes: NDArray[np.bool_]


def draw_network(seed: int = 0) -> Network:
    """Masks, weights of a mean above 0, so that neurons do fire, and Bernoulli spike trains; in this order."""
    rng = np.random.default_rng(seed)
    masks, weights = [], []
    for shape in ((INPUTS, HIDDEN), (HIDDEN, INPUTS)):
        masks.append(rng.random(shape) < DENSITY)
        weights.append(np.round(rng.normal(0.6, 2.0, shape), 2))
    spikes = rng.random((TIMESTEPS, INPUTS)) < RATE
    return Network((masks[0], masks[1]), (weights[0], weights[1]), spikes)


def build_chip(network: Network, per_core: int) -> Any:
    """The network on SANA-FE's Loihi: `per_core` neurons on each core, layer after layer."""
    import sanafe

    arch, net = sanafe.load_loihi(), sanafe.Network()
    leaky = {"reset": 0.0, "leak_decay": 0.5, "reset_mode": "hard", "threshold": THRESHOLD}
    units = {
        "default_synapse_hw_name": "loihi_sparse_synapse",
        "default_dendrite_hw_name": "loihi_dendrites",
        "soma_hw_name": "loihi_lif",
    }
    groups = [
        net.create_neuron_group("input", INPUTS),
        net.create_neuron_group("hidden", HIDDEN, leaky, **units),
        net.create_neuron_group("output", INPUTS, leaky, **units),
    ]
    for neuron, train in enumerate(network.spikes.T.tolist()):
        unit = f"loihi_inputs[{neuron % per_core}]"
        groups[0][neuron].set_attributes(soma_hw_name=unit, model_attributes={"spikes": train})
    for layer, (mask, weights) in enumerate(zip(network.masks, network.weights, strict=True)):
        rows, columns = np.nonzero(mask)
        pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))
        groups[layer].connect_neurons_sparse(groups[layer + 1], {"weight": weights[mask].tolist()}, pairs)
    cores = [core for tile in arch.tiles for core in tile.cores]
    first = 0
    for group, size in zip(groups, (INPUTS, HIDDEN, INPUTS), strict=True):
        for neuron in range(size):
            group[neuron].map_to_core(cores[first + neuron // per_core])
        first += -(-size // per_core)
    chip = sanafe.SpikingChip(arch)
    chip.load(net)
    return chip


@contextmanager
def silent_stdout() -> Iterator[None]:
    """SANA-FE draws a progress bar from C++, which Python's stdout does not see."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def run_once(chip: Any) -> dict[str, Any]:
    """One run in `detailed` timing on one thread; then the chip forgets its state, but not how far its inputs are."""
    with silent_stdout():
        began = time.perf_counter()
        result = chip.sim(TIMESTEPS, timing_model="detailed", processing_threads=1, scheduler_threads=0)
        seconds = time.perf_counter() - began
        chip.reset()
    return {
        "seconds": seconds,
        "synaptic_events": result["spikes"],
        "spikes": result["neurons_fired"],
        "packets": result["packets_sent"],
    }


def main() -> None:
    """Build, then answer requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-core", type=int, default=128, help="neurons on a core")
    parser.add_argument("--runs", type=int, default=1, help="runs at most; the input is repeated as often")
    asked = parser.parse_args()
    network = draw_network()
    repeated = Network(network.masks, network.weights, np.tile(network.spikes, (asked.runs, 1)))
    chip = build_chip(repeated, asked.per_core)
    answer({"version": metadata.version("sanafe")})
    for _, _ in zip(range(asked.runs), sys.stdin, strict=False):
        answer(run_once(chip))


def answer(found: dict[str, Any]) -> None:
    """A line of JSON on stdout."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
