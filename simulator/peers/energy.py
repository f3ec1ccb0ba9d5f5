"""Energy of peers as published: constant power times time, and DRAM traffic as a multiple of Prosperity's."""

import tomllib
from functools import cache
from importlib import resources

from pydantic import Field

from ..validation import Part


class PeerPrice(Part):
    """Power of a chip without DRAM, and its DRAM traffic over Prosperity's."""

    on_chip_mw: float = Field(gt=0)
    dram_ratio: float = Field(gt=0)


class PeerPrices(Part):
    """hwconfigs/peers/published.toml: E = power x time + price of a bit x ratio x Prosperity's DRAM bits."""

    name: str
    kind: str
    source: str = Field(min_length=10)
    node_nm: int = Field(gt=0)
    clock_mhz: int = Field(gt=0)
    dram_pj_per_bit: float = Field(gt=0)
    dram_source: str = Field(min_length=10)
    peers: dict[str, PeerPrice]

    def seconds(self, cycles: float) -> float:
        """Time of so many cycles; all peers run at one clock."""
        return cycles / (self.clock_mhz * 1e6)

    def charged_bits(self, peer: str, prosperity_bits: int) -> float:
        """DRAM bits that a peer is charged for where Prosperity moves so many."""
        return self.peers[peer].dram_ratio * prosperity_bits

    def energy_pj(self, peer: str, seconds: float, prosperity_bits: int) -> dict[str, float]:
        """pJ on the chip, in DRAM and in all; mW x s are 1e9 pJ."""
        on_chip = self.peers[peer].on_chip_mw * seconds * 1e9
        dram = self.dram_pj_per_bit * self.charged_bits(peer, prosperity_bits)
        return {"on_chip": on_chip, "dram": dram, "total": on_chip + dram}


@cache
def load_peer_prices() -> PeerPrices:
    """The shipped table."""
    text = (resources.files("sparsespike.hwconfigs.peers") / "published.toml").read_text("utf-8")
    return PeerPrices.model_validate(tomllib.loads(text))
