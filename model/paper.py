"""The networks of SparseSpikformer (arXiv 2311.08806) and the figures that the paper prints of them.

`python -m sparsespike.model.paper` prints what is counted here beside what is printed there.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from .config import SpikformerConfig
from .counting import LayerShape, ladder, layer_shapes, macs, max_token_saving, parameters, prunable, sparsity

KEEP = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
# table 1: keep ratio -> "FLOPs" in G
PRINTED_CIFAR_G = dict(zip(KEEP, (3.74, 3.44, 3.24, 3.04, 2.88, 2.75), strict=True))
PRINTED_EVENTS_G = dict(zip(KEEP, (7.78, 7.36, 6.93, 6.57, 6.27, 6.03), strict=True))
# table 2: round of the 25 % ladder -> sparsity in %, (without selectors, at keep 0.7); None: not printed
PRINTED_CIFAR10 = {5: ("75.90", None), 7: ("86.22", None), 10: ("93.90", "93.90")}
PRINTED_CIFAR100 = {5: ("75.90", "75.90"), 7: ("86.22", "86.23"), 9: ("92.03", "92.04")}
PRINTED_CIFAR10_DVS = {6: ("81.3", "81.3"), 8: ("89.0", "89.0"), 12: ("95.8", "95.8")}
PRINTED_DVS128 = {7: ("85.7", "85.7"), 10: ("93.4", "93.4"), 12: ("95.8", "95.8")}


def cifar(keep: float = 1.0, classes: int = 10) -> SpikformerConfig:
    """Spikformer-4-384 on 3 x 32 x 32 images: T = 4, 64 tokens, 12 heads; learned selectors where keep is below 1."""
    return SpikformerConfig(
        image_channels=3,
        image_size=32,
        timesteps=4,
        sps_channels=(48, 96, 192, 384),
        sps_pools=(False, False, True, True),
        depth=4,
        heads=12,
        classes=classes,
        keep=keep,
        activation="gelu",
    )


def event_camera_shapes(keep: float = 1.0, classes: int = 10, paper_counting: bool = False) -> tuple[LayerShape, ...]:
    """Spikformer-4-256 on 16 frames of 2 x 128 x 128 events, 64 tokens, 16 heads: its shapes only.

    It differs from the other network in that linear layers are 1 x 1 convolutions by name, q, k and v have no bias, and
    - so the printed FLOPs say - a selector runs at every timestep. paper_counting: also the final norm and the position
    embedding, which it never uses either.
    """
    config = SpikformerConfig(
        image_channels=2,
        image_size=128,
        timesteps=16,
        sps_channels=(32, 64, 128, 256),
        sps_pools=(True, True, True, True),
        depth=4,
        heads=16,
        attention_scale=0.25,
        classes=classes,
        keep=keep,
    )
    layers = [_as_events(layer, config.timesteps) for layer in layer_shapes(config, paper_counting)]
    if paper_counting:
        layers.append(LayerShape("pos_embed", "embedding", config.tokens, config.width, config.tokens))
        layers.append(LayerShape("norm", "layer norm", config.width, config.width, config.tokens))
    return tuple(layers)


def _as_events(layer: LayerShape, timesteps: int) -> LayerShape:
    """A layer of the image network as the event-camera network has it."""
    if layer.name.startswith("predictor."):
        return replace(layer, passes=timesteps)
    if layer.name.endswith(("q_linear", "k_linear", "v_linear")):
        layer = replace(layer, bias=False)
    return replace(layer, name=layer.name.replace("_linear", "_conv"))


def main() -> None:
    """Print parameters, multiply-accumulates and the pruning ladder, counted beside printed."""
    sys.stdout.write("\n\n".join([_sizes(), _flops(), _shares(), *_ladders()]) + "\n")


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text under a title, the first to the left, the others to the right."""
    lines = [columns, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    text = [title]
    for first, *others in lines:
        numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        text.append("  ".join(("", first.ljust(widths[0]), *numbers)))
    return "\n".join(text)


def _sizes() -> str:
    rows = []
    for name, keep, plain, counted in (
        ("CIFAR 4-384", 1.0, layer_shapes(cifar()), layer_shapes(cifar(), True)),
        ("CIFAR 4-384", 0.7, layer_shapes(cifar(0.7)), layer_shapes(cifar(0.7), True)),
        ("events 4-256", 1.0, event_camera_shapes(), event_camera_shapes(paper_counting=True)),
        ("events 4-256", 0.7, event_camera_shapes(0.7), event_camera_shapes(0.7, paper_counting=True)),
    ):
        selectors = "3 selectors" if keep < 1 else "none"
        idle = sum(layer.idle_zeros for layer in counted)
        numbers = (prunable(plain), parameters(plain), parameters(counted), idle)
        rows.append((name, selectors, *(f"{number:,}" for number in numbers)))
    return _table(
        "Parameters, 10 classes",
        ("network", "selectors", "prunable", "trained", "as the paper counts", "of these never trained zeros"),
        rows,
    )


def _flops() -> str:
    rows = []
    for keep in KEEP:
        row = [f"{keep:.1f}"]
        for printed, counted in (
            (PRINTED_CIFAR_G, macs(cifar(keep))),
            (PRINTED_EVENTS_G, macs(event_camera_shapes(keep))),
        ):
            row += [f"{printed[keep]:.2f}", f"{counted / 1e9:.4f}", f"{printed[keep] - counted / 1e9:+.4f}"]
        rows.append(row)
    columns = ("keep", "CIFAR printed", "counted", "residue", "events printed", "counted", "residue")
    return _table("Multiply-accumulates per image in G ('FLOPs' of table 1)", columns, rows)


def _shares() -> str:
    """Where the operations are, and what follows for token pruning."""
    rows = []
    for name, network, at_half in (
        ("CIFAR 4-384", layer_shapes(cifar()), macs(cifar(0.5))),
        ("events 4-256", event_camera_shapes(), macs(event_camera_shapes(0.5))),
    ):
        total = macs(network)
        stem = sum(layer.macs for layer in network if layer.name.startswith("patch_embed."))
        shares = (stem / total, max_token_saving(network), 1 - at_half / total)
        rows.append((name, *(f"{100 * share:.1f} %" for share in shares)))
    columns = ("network", "stem", "most that token pruning can save", "saved at keep 0.5")
    return _table("Share of the multiply-accumulates", columns, rows)


def _ladders() -> list[str]:
    """Sparsity by round, both ways, beside table 2."""

    def image(classes: int) -> Callable[[float], Sequence[LayerShape]]:
        return lambda keep: layer_shapes(cifar(keep, classes), True)

    def events(classes: int) -> Callable[[float], Sequence[LayerShape]]:
        return lambda keep: event_camera_shapes(keep, classes, True)

    parts = []
    for name, network, printed in (
        ("CIFAR-10", image(10), PRINTED_CIFAR10),
        ("CIFAR-100", image(100), PRINTED_CIFAR100),
        ("CIFAR10-DVS", events(10), PRINTED_CIFAR10_DVS),
        ("DVS128 Gesture", events(11), PRINTED_DVS128),
    ):
        rows = []
        for number, texts in printed.items():
            row = [str(number)]
            for keep, text in zip((1.0, 0.7), texts, strict=True):
                layers = network(keep)
                share = sparsity(layers, ladder(layers, number)[-1])
                row += [f"{100 * share.of_prunable:.3f}", f"{100 * share.of_all:.3f}", text or "-"]
            rows.append(row)
        columns = ("round", "of prunable", "of all", "printed", "keep 0.7: of prunable", "of all", "printed")
        parts.append(_table(f"Sparsity in %, 25 % of the survivors pruned per round, {name}", columns, rows))
    return parts


if __name__ == "__main__":
    main()
