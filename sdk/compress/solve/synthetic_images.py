"""Bias correction without data: the change of a layer's mean output by rounding, measured on made-up images.

Rounding a layer's weights moves the mean of its outputs by dW E[x], which the bias can take back (Nagel et al. 2019,
arXiv 1906.04721, section 4.2). There E[x] comes from batch norm, which a converted graph no longer has. For a network
of photographs, noise with their spectrum (amplitude 1 / frequency) and channels as similar as theirs gives means that
are better than none; real images give better ones (``--effort calibrate``). In other networks, such as those of digits,
such means would destroy the answers.
"""

from __future__ import annotations

from device_agent.record.preprocess import Preprocess
from sdk.compress.solve.calibrate import all_readers, compensating, solved_layers, with_biases
from sdk.compress.solve.statistics import Streams
from sdk.errors import ModelError
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.made_up.photographs import photographs
from sdk.graph.records import Graph
from sdk.tools.progress import Progress, silent

COUNT = 32


def correct_biases(
    original: Graph,
    changed: Graph,
    preprocess: str,
    progress: Progress = silent,
) -> Graph:
    """``changed``, which is ``original`` with other weights, with biases that keep the mean of every output channel.

    It works layer by layer, on what the corrected layers before make of made-up images.
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
    images = Preprocess.parse(preprocess)(photographs(shape, COUNT))
    streams = Streams(Executor(whole), lambda samples: images[list(samples)], COUNT)
    made = {weight.tensor_index: weight.array for weight in changed.weights()}
    layers = all_readers(whole, solved_layers(whole))
    for number, layer in enumerate(layers):
        progress("biases", number, len(layers))
        streams.advance(layer.weight.operator_index, made)
        made[layer.bias] = compensating(streams, layer, made[layer.weight.tensor_index])
    progress("biases", len(layers), len(layers))
    return whole.with_data(made)
