"""What the first layer reads: images, the same at all timesteps, or an input that is spikes already."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ...simulator.errors import UserError
from .context import Context
from .fields import image_of, time_of
from .sites import Site
from .streams import Draft
from .values import Spikes, Value


def still_images(context: Context, site: Site, operands: list[Value], *, must: bool) -> NDArray[np.float32] | None:
    """float32[images, rows, …]: what a layer reads of each image, a map or tokens, where that is the same at all times.

    None where it is spikes that change, or that there is one timestep of.  must: they are real numbers. Raises
    UserError where these change over time.
    """
    kept: dict[tuple[int, int], torch.Tensor] = {}
    for value, call in zip(operands, site.calls, strict=True):
        assert value.tensor is not None
        maps = call.op == "convolution"
        tokens = [0] * len(value.tensor) if maps else context.places.tokens(call).tolist()
        for row, image, token in zip(value.tensor, context.places.images_of(value).tolist(), tokens, strict=True):
            if torch.equal(kept.setdefault((image, token), row), row):
                continue
            if not must:
                return None
            raise UserError(
                "the input changes from timestep to timestep and is neither spikes nor whole numbers from 0 to 255: "
                "the chip's input layer works on one image; encode it as spikes"
            )
    if not must and len(operands) == 1 and context.streams.timesteps == 1:
        return None
    ordered = sorted(kept.items(), key=lambda item: item[0])
    rows = [torch.stack([row for (of, _), row in ordered if of == image]) for image in range(context.streams.images)]
    return torch.stack(rows).to(torch.float32).numpy()


def read_spikes(context: Context, site: Site, operands: list[Value], source: Draft) -> Draft:
    """Input that is spikes: its tokens and channels are what its reader takes them for.

    The stream itself, or one beside it where another layer has taken it for something else.
    """
    shape, maps = operands[0].shape, site.value.op == "convolution"
    tokens = torch.zeros(shape[0], dtype=torch.int64) if maps else context.places.tokens(site.value)
    grid = shape[2:] if maps else (1 + int(tokens.max()),)
    size = (shape[1] if maps else shape[-1], grid[0] if len(grid) > 1 else 1, grid[-1])
    if source.encoded:
        if size == (source.channels, source.height, source.width):
            return source
        source = replace(source)
    source.encoded = True
    source.channels, source.height, source.width = size
    dense = np.zeros((context.streams.images, context.streams.timesteps, source.tokens, source.channels), np.uint8)
    for value, call in zip(operands, site.calls, strict=True):
        assert value.tensor is not None
        rows = value.tensor.to(torch.uint8).numpy().reshape(shape[0], source.channels, -1).transpose(0, 2, 1)
        stack = context.places.stack(call)
        for row, image, time, token in zip(rows, image_of(stack), time_of(stack), tokens, strict=True):
            steps = slice(None) if time < 0 else slice(int(time), int(time) + 1)
            dense[int(image), steps, int(token) : int(token) + len(row)] = row
    source.spikes = Spikes.of(torch.from_numpy(dense))
    return source
