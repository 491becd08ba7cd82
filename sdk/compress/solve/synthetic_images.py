"""Bias correction without data: what rounding did to a layer's mean output, measured on images that are made up.

Rounding a layer's weights moves the mean of its outputs by dW E[x], which the bias can take back (Nagel et al. 2019,
arXiv 1906.04721, section 4.2). There E[x] comes from batch norm, which a converted graph has no more. Noise with the
spectrum of photographs (amplitude 1 / frequency) and channels as much alike as theirs gives means that are near enough
to be better than none for a network of photographs; real images, where there are some, give better ones (``--effort
calibrate``). Of other networks, such as of digits, they would destroy the answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from device_agent.record.preprocess import Preprocess
from sdk.compress.solve.calibrate import solved_layers, with_biases
from sdk.compress.solve.statistics import Streams
from sdk.compress.weights.biases import rounded_bias
from sdk.errors import ModelError
from sdk.graph.execute import Executor
from sdk.graph.records import Graph
from sdk.tools.progress import Progress, silent

COUNT = 32
# Pixels 0 to 255 of photographs: mean, deviation within an image and of images' means, share of grey in the deviation.
MEAN, DEVIATION, MEANS_DEVIATION, GREY = 115.0, 55.0, 25.0, 0.9


def made_up_images(shape: Sequence[int], count: int) -> np.ndarray:
    """float32 pixels 0 to 255, (count, height, width, channels)."""
    height, width, channels = shape
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf  # the mean is given below
    spectrum = np.fft.rfft2(rng.normal(size=(count, channels, height, width))) / frequency
    colours = np.moveaxis(np.fft.irfft2(spectrum, s=(height, width)), 1, 3)

    def unit(values: np.ndarray) -> np.ndarray:
        return values / np.maximum(values.std(axis=(1, 2, 3), keepdims=True), 1e-12)

    mixed = unit(GREY * unit(colours.mean(axis=3, keepdims=True)) + np.sqrt(1 - GREY**2) * unit(colours))
    pixels = MEAN + DEVIATION * mixed + MEANS_DEVIATION * rng.normal(size=(count, 1, 1, 1))
    return np.clip(pixels, 0, 255).astype(np.float32)


def correct_biases(
    original: Graph,
    changed: Graph,
    preprocess: str,
    progress: Progress = silent,
) -> Graph:
    """``changed``, which is ``original`` with other weights, with biases that keep the mean of every output channel.

    Layer by layer, on what the layers before make of made-up images once they are corrected.
    """
    shape = original.tensors[original.inputs[0]].shape[1:]
    if len(shape) != 3 or shape[2] != 3:
        raise ModelError(
            "made-up photographs say nothing about a network for other inputs",
            expected="an input (1, height, width, 3)",
            found="/".join(map(str, original.tensors[original.inputs[0]].shape)),
            hint="Give some real inputs: --data.",
        )
    whole = with_biases(original)
    images = Preprocess.parse(preprocess)(made_up_images(shape, COUNT))
    streams = Streams(Executor(whole), lambda samples: images[list(samples)], COUNT)
    made = {weight.tensor_index: weight.array for weight in changed.weights()}
    layers = solved_layers(whole)
    for number, layer in enumerate(layers):
        progress("biases", number, len(layers))
        streams.advance(layer.weight.operator_index, made)
        taught, seen = streams.means(layer.shape, layer.source)
        before = layer.shape.unfold(layer.weight.array).astype(np.float64)
        after = layer.shape.unfold(made[layer.weight.tensor_index]).astype(np.float64)
        moved = (before @ taught[..., None] - after @ seen[..., None]).reshape(-1)
        made[layer.bias] = rounded_bias(whole.tensors[layer.bias].data + moved)
    progress("biases", len(layers), len(layers))
    return whole.with_data(made)
