"""Published closed-form models of accelerators on the spikes of a trace: Eyeriss, PTB, SATO, MINT and Prosperity.

They count instead of stepping: no queue, no route, no bank. Section 'Peers' of the README says what is mapped how.
"""

from .report import PEERS, PeersReport, run_peers

__all__ = ["PEERS", "PeersReport", "run_peers"]
