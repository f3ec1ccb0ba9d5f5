"""Published accelerators' models against the numbers that were published, to the last digit."""

from decimal import Decimal
from functools import cache

import pytest
from published_networks import TEXT, VISION, published
from sparsespike.simulator.peers import run_peers
from sparsespike.simulator.peers.baselines import eyeriss
from sparsespike.simulator.peers.energy import load_peer_prices
from sparsespike.simulator.peers.prosperity import Prosperity
from sparsespike.simulator.synthetic import WORKLOADS, synthetic_trace

WORKLOADS_IN_TABLES = 16
# of section 1.9 of the authors' figures, LeNet-5's spikes
LENET = {
    "eyeriss": 114_178,
    "ptb": 62_319,
    "sato": 61_012,
    "mint": 196_013,
    "prosperity_bit_sparse": 183_492,
    "prosperity": 41_178,
}
SPIKFORMER_BITS = 140_574_720  # of a whole Spikformer-4-384 on 32 x 32 pixels, which move whatever the spikes are


def half_unit(printed):
    """Half of what the last digit of a printed number stands for: as far as it may be off."""
    return float(Decimal(10) ** Decimal(printed).as_tuple().exponent) / 2


@pytest.mark.torch
def test_lenet_takes_the_published_cycles():
    from sparsespike.model.foreign import foreign_trace
    from spike_files import LENET as SPIKES
    from spike_files import LENET_TOML

    report = run_peers(foreign_trace(SPIKES, LENET_TOML))
    assert {name: run.cycles for name, run in report.runs.items()} == LENET
    assert (f"{report.density.bit:.8f}", f"{report.density.product:.8f}") == ("0.25363995", "0.01561379")
    assert report.runs["prosperity"].dram_bits == 1_102_848
    assert report.left_out == {"pool_1": "pools take no time in any peer"}
    assert all(isinstance(run.cycles, int) for run in report.runs.values())


@pytest.mark.slow
def test_a_whole_spikformer_moves_the_published_bits():
    report = run_peers(synthetic_trace(WORKLOADS["spikformer"], keep=1.0, weight_density=0.01))
    assert report.runs["prosperity"].dram_bits == SPIKFORMER_BITS
    assert report.to_json()["peers"]["prosperity"]["dram_bits_charged"] == SPIKFORMER_BITS
    assert report.runs["eyeriss"].cycles == 21_906_848  # section 1.9, from shapes alone
    assert list(report.left_out) == ["sps0", "pool2", "pool3", "head"]


@cache
def moved(name):
    """DRAM bits of all layers of a network of the tables."""
    peer = Prosperity(product=True)
    return sum(peer.cost(work).dram_bits for work in VISION[name]())


@pytest.mark.parametrize("names", VISION, ids=lambda names: names[0])
def test_published_networks_move_the_published_bits(names):
    assert {str(moved(names))} == {published()["dram_bits", "prosperity"][name] for name in names}


@pytest.mark.parametrize("names", [*VISION, *TEXT], ids=lambda names: names[0])
def test_eyeriss_takes_the_published_times(names):
    """From shapes alone, to the last printed digit."""
    works = (VISION | TEXT)[names]()
    seconds = load_peer_prices().seconds(sum(eyeriss(work).total for work in works))
    for name in names:
        printed = published()["time_s", "eyeriss"][name]
        assert abs(seconds - float(printed)) <= half_unit(printed)


@pytest.mark.parametrize("model", ["eyeriss", "eyeriss_linear", "ptb", "sato", "mint", "prosperity"])
def test_energies_follow_from_times_and_traffic(model):
    """As far as the digits of the published times and energies go."""
    tables, prices = published(), load_peer_prices()
    peer = model.removesuffix("_linear")  # the same chip, with attention
    energies = tables["energy_mj", model]
    assert len(energies) == WORKLOADS_IN_TABLES
    for name, printed in energies.items():
        seconds, bits = tables["time_s", model][name], int(tables["dram_bits", "prosperity"][name])
        found = prices.energy_pj(peer, float(seconds), bits)
        unsure = half_unit(printed) + prices.peers[peer].on_chip_mw * half_unit(seconds)
        assert abs(found["total"] * 1e-9 - float(printed)) <= unsure
        assert found["total"] == found["on_chip"] + found["dram"]


def test_energy_by_hand():
    """1000 cycles at 500 MHz are 2 us; 446.5 mW make 893 nJ, 1000 bits at 12.45 pJ and SATO's 4.85 60,382.5 pJ."""
    prices = load_peer_prices()
    assert prices.seconds(1000) == 2e-6
    assert prices.energy_pj("prosperity", 2e-6, 0)["total"] == pytest.approx(893_000, rel=1e-12)
    assert prices.energy_pj("sato", 0.0, 1000)["dram"] == pytest.approx(60_382.5, rel=1e-12)
