"""capture: what it costs beside the model's own forward pass, in time and in memory."""

import statistics
import time
import weakref

import pytest
import torch
from sparsespike import capture
from sparsespike.model.config import SpikformerConfig
from sparsespike.model.spikformer import Spikformer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

TIMES_MAX = 3.0


class Live(TorchDispatchMode):
    """Bytes of all tensors that are alive at once: their peak, and the largest one."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.largest = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self._known:
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage) -> None:
        self._known[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak, self.largest = max(self.peak, self.now), max(self.largest, storage.nbytes())
        weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, key: int) -> None:
        self.now -= self._known.pop(key, 0)


@pytest.fixture(scope="module")
def network() -> tuple[Spikformer, Tensor]:
    torch.manual_seed(0)
    config = SpikformerConfig(
        image_channels=3,
        image_size=32,
        sps_channels=(24, 48, 96, 192),
        sps_pools=(False, False, True, True),
        depth=2,
        keep=1.0,
    )
    model = Spikformer(config).eval()
    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            module.running_var.fill_(0.05)  # so that every layer fires
    return model, torch.rand(24, 3, 32, 32)


def run(model: Spikformer, images: Tensor) -> None:
    with torch.no_grad():
        model(images)


def test_three_times_the_forward_pass_at_most(network):
    """CPU time of this thread: a machine that works on other things, too, must not decide."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plain, watched = [], []
    try:
        for _ in range(4):
            for found, work in ((plain, run), (watched, lambda *given: capture(*given, None, level="replay"))):
                start = time.thread_time()
                work(*network)
                found.append(time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    ratio = statistics.median(watched[1:]) / statistics.median(plain[1:])
    assert ratio <= TIMES_MAX, ratio


def test_no_more_than_one_layer_is_held(network):
    with Live() as plain:
        run(*network)
    with Live() as watched:
        capture(*network, None, level="replay")
    assert watched.peak - plain.peak <= plain.largest
