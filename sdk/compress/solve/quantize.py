"""Post-training quantisation to int8: 8-bit weights, one scale an output channel, and 8-bit values between layers.

The arithmetic is TFLite's int8 specification (Jacob et al., arXiv 1712.05877; ai.google.dev/edge/litert, "LiteRT 8-bit
quantization specification").  Ranges are taken from example images that run through the float graph; the quantiser is
the one inside TensorFlow's converter, which takes a ``.tflite`` as it is.  Input and output stay float32, so an int8
model is fed and read like the float one.

Weights that lie on a grid already, as calibration leaves them, keep it (:func:`with_own_grids`). Of the others the
quantiser rounds every one to the nearest step. :func:`weight_grids` and :func:`with_rounded` let another pass
(:func:`sdk.compress.solve.calibrate.round_to_grids`) choose the steps, which keeps networks with few weights per
channel, such as MobileNets, close to the float graph (docs/arm-speed.md).

On cores without dot-product instructions (Cortex-A53, A72) int8 is hardly faster than float32 and a pruned float model
beats it; with them (Cortex-A76) it is three times faster.  See docs/arm-speed.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor
from sdk.compress.rewrite.structure import has_sparse_hint
from sdk.compress.solve.answer_loss import log_softmax
from sdk.compress.weights.eight_bits import EightBits, on_own_grid
from sdk.compress.weights.grid import bfloat16
from sdk.errors import DataError, ModelError
from sdk.graph.enums import NO_ACTIVATION
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph, Operator, Quantization, Tensor, Weight
from sdk.graph.writer import write_graph

#: What an output channel without weights gets as its only one, as a share of the layer's largest weight. A channel of
#: zeros alone would get the scale 0, on which XNNPACK's ARM kernels crash (seen with ai-edge-litert 2.3.0); this is
#: less than half a step of the largest channel.
EMPTY_CHANNEL = 1e-3
_WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
RANGES = 16  # lower ends that the range of the scores is tried with
BIAS_STEPS = 1 << 10  # that the bias of a channel without weights is long
SMALLEST_SCALE = np.float32(2.0**-20)


def quantize(graph: Graph, images: Iterable[np.ndarray]) -> Graph:
    """The int8 form of a float32 graph, its ranges taken from ``images``.

    Each image has the shape of the graph's input such as (1, 224, 224, 3), with or without the batch of 1, and the
    values that the network was trained on (preprocessed; flipped, if the graph asks for that). Some hundred images are
    enough.

    Raises :class:`DataError` where there is no image or one of another shape; :class:`ModelError` where the graph has
    several inputs, is not float32, carries a sparse hint, or holds what the quantiser refuses.
    """
    if len(graph.inputs) != 1 or graph.tensors[graph.inputs[0]].dtype != "FLOAT32":
        raise ModelError(
            "only a float graph of one input is quantised",
            expected="1 input of float32",
            found=", ".join(graph.tensors[t].dtype for t in graph.inputs) or "no input",
        )
    if has_sparse_hint(graph):
        raise ModelError(
            "a graph with a sparse hint is not quantised",
            expected="dense weights",
            found="a DENSIFY operator",
            hint="Quantise the graph before it is specialised for a board: the sparse kernels compute in float.",
        )
    shape = graph.tensors[graph.inputs[0]].shape
    samples = [_sample(image, shape) for image in images]
    if not samples:
        raise DataError("there is nothing to calibrate with", expected="1 image or more", found="none")
    quantised = read_graph(_quantise(write_graph(_without_empty_channels(graph)), samples))
    # The quantiser writes a new file: what the graph says about itself is carried over.
    kept = dict(quantised.metadata) | dict(graph.metadata)
    return replace(
        quantised, metadata=tuple(kept.items()), description=graph.description, attached=graph.attached
    )


def weight_grids(graph: Graph, quantised: Graph) -> dict[int, np.ndarray]:
    """For each float weight of ``graph`` (by tensor number) the scales that its int8 form has, (channels,)."""
    stored = _by_name(quantised)
    grids = {}
    for weight in graph.weights():
        found = quantised.tensors[stored.get(weight.tensor.name, 0)]
        if weight.tensor.name in stored and found.dtype == "INT8" and found.quantization is not None:
            channels = weight.tensor.shape[weight.channel_axis]
            grids[weight.tensor_index] = np.broadcast_to(found.quantization.scales, (channels,))
    return grids


def with_rounded(
    graph: Graph, quantised: Graph, symbols: Mapping[int, np.ndarray], biases: Mapping[int, np.ndarray]
) -> Graph:
    """``quantised`` with other whole numbers for weights, and other biases, both by tensor number of ``graph``.

    ``symbols``: -127 ... 127, each of the shape of its weight; ``biases``: (channels,) float32. Scales stay as they
    are.
    """
    stored = _by_name(quantised)
    changes = {}
    for tensor, numbers in symbols.items():
        changes[stored[graph.tensors[tensor].name]] = numbers.astype(np.int8)
    for tensor, bias in biases.items():
        index = stored.get(graph.tensors[tensor].name)
        found = quantised.tensors[index] if index is not None else None
        if (
            index is not None
            and found is not None
            and found.dtype == "INT32"
            and found.quantization is not None
        ):
            changes[index] = _steps(bias, found.quantization.scales)
    return quantised.with_data(changes)


def with_own_grids(graph: Graph, quantised: Graph) -> tuple[Graph, frozenset[int]]:
    """``quantised``, whose weights keep the grid that they lie on in ``graph`` already, with its steps as scales.

    The second result are the tensors of ``graph`` that did, whose weights are the float ones exactly.
    """
    stored = _by_name(quantised)
    tensors = list(quantised.tensors)
    readers = quantised.consumers()
    kept = set()
    for weight in graph.weights():
        index = stored.get(weight.tensor.name, -1)
        if index < 0 or tensors[index].dtype != "INT8" or not weight.tensor.is_dense_array:
            continue
        before, places = tensors[index].quantization, readers[index]
        if (
            before is None
            or len(places) != 1
            or len(before.scales) != weight.tensor.shape[weight.channel_axis]
        ):
            continue
        operator = quantised.operators[places[0]]
        source = quantised.tensors[operator.inputs[0]].quantization
        own = on_own_grid(weight.array, weight.channel_axis)
        if own is None or source is None or not _put_bias(graph, weight, tensors, operator, source, own):
            continue
        changed = replace(before, scales=own.scales, minimums=None, maximums=None)
        tensors[index] = replace(tensors[index], data=own.numbers, quantization=changed)
        kept.add(weight.tensor_index)
    return replace(quantised, tensors=tuple(tensors)), frozenset(kept)


def with_ranges(quantised: Graph, ranges: Mapping[str, tuple[float, float]]) -> Graph:
    """``quantised`` with other ranges of 8-bit values, (lowest, highest) by the tensor's name.

    The biases of layers that read them follow. A tensor keeps its range where something makes or reads it whose two
    ends must have one scale, such as a pool.
    """
    readers = quantised.consumers()
    for number, tensor in enumerate(quantised.tensors):
        if tensor.name not in ranges or tensor.dtype != "INT8" or tensor.data is not None:
            continue
        layers = [quantised.operators[place] for place in readers.get(number, [])]
        if (
            all(one.kind in (*_WITH_BIAS, "ADD", "MEAN") for one in layers)
            and tensor.quantization is not None
        ):
            low, high = ranges[tensor.name]
            scale = np.float32((high - low) / 255)
            zero = int(np.clip(np.rint(-128 - low / scale), -128, 127))
            changed = _with_scale(quantised, number, scale, zero, layers)
            quantised = quantised if changed is None else changed
    return quantised


def _with_scale(
    quantised: Graph, number: int, scale: np.float32, zero: int, readers: Sequence[Operator]
) -> Graph | None:
    """The graph with another scale and zero point of a tensor, which layers' biases follow; None where they cannot."""
    tensors = list(quantised.tensors)
    places = quantised.consumers()
    for layer in readers:
        if layer.kind not in _WITH_BIAS:
            continue
        bias = layer.inputs[2] if len(layer.inputs) > 2 else -1
        weight = tensors[layer.inputs[1]].quantization
        steps = tensors[bias].quantization if bias >= 0 else None
        data = tensors[bias].data if bias >= 0 else None
        if weight is None or steps is None or data is None or len(places[bias]) != 1:
            return None
        values = data * steps.scales.astype(np.float64)
        scales = (scale * weight.scales).astype(np.float32)
        quantization = replace(steps, scales=scales, minimums=None, maximums=None)
        tensors[bias] = replace(tensors[bias], data=_steps(values, scales), quantization=quantization)
    before = tensors[number].quantization
    assert before is not None
    quantization = replace(
        before,
        scales=np.array([scale], np.float32),
        zero_points=np.array([zero], np.int64),
        minimums=None,
        maximums=None,
    )
    tensors[number] = replace(tensors[number], quantization=quantization)
    return replace(quantised, tensors=tuple(tensors))


def with_float_answers(quantised: Graph, scores: np.ndarray) -> Graph:
    """``quantised`` whose last SOFTMAX computes in float, on scores in the range that changes its answers least.

    ``scores``: what the float graph gives its SOFTMAX on images, (n, classes). In 8 bits each answer would be a
    multiple of 1/256, and most of the range would go to scores so low that they mean nothing. SOFTMAX asks for
    differences alone, so the range may lie anywhere: the bias is moved. The graph as it is where it ends otherwise.
    """
    producers, readers = quantised.producers(), quantised.consumers()
    for last, operator in enumerate(quantised.operators):
        made = producers.get(operator.inputs[0], -1)
        if operator.kind != "DEQUANTIZE" or made < 0 or quantised.operators[made].kind != "SOFTMAX":
            continue
        softmax = quantised.operators[made]
        source = softmax.inputs[0]
        layer = quantised.operators[producers[source]] if source in producers else None
        alone = all(len(readers[t]) == 1 and t not in quantised.outputs for t in (source, operator.inputs[0]))
        if layer is None or not alone or quantised.tensors[source].dtype != "INT8":
            continue
        ranged = _with_range(quantised, layer, source, scores)
        editor = Editor(ranged)
        floats = editor.value(f"{quantised.tensors[source].name}/float", quantised.tensors[source].shape)
        editor.replace(made, [replace(operator, inputs=(source,), outputs=(floats,))])
        editor.replace(last, [replace(softmax, inputs=(floats,), outputs=operator.outputs, version=1)])
        return editor.graph()
    return quantised


def _with_range(quantised: Graph, layer: Operator, source: int, scores: np.ndarray) -> Graph:
    """The graph with another scale of what a layer makes, and its bias moved so that zero is in the middle."""
    bias = layer.inputs[2] if len(layer.inputs) > 2 else -1
    plain = layer.options.get("fusedActivationFunction", NO_ACTIVATION) == NO_ACTIVATION
    steps = quantised.tensors[bias] if bias >= 0 else None
    before = quantised.tensors[source].quantization
    if (
        not plain
        or before is None
        or steps is None
        or steps.data is None
        or steps.quantization is None
        or len(quantised.consumers()[bias]) != 1
        or scores.shape[-1] != quantised.tensors[source].shape[-1]
    ):
        return quantised
    low, high = _best_range(scores.reshape(-1, scores.shape[-1]).astype(np.float64))
    scale, middle = np.float32((high - low) / 255), (low + high) / 2
    moved = np.rint(middle / steps.quantization.scales.astype(np.float64))
    limit = np.iinfo(np.int32).max
    tensors = list(quantised.tensors)
    tensors[bias] = replace(
        steps, data=np.clip(steps.data.astype(np.float64) - moved, -limit, limit).astype(np.int32)
    )
    quantization = replace(
        before,
        scales=np.array([scale], np.float32),
        zero_points=np.zeros(1, np.int64),
        minimums=None,
        maximums=None,
    )
    tensors[source] = replace(tensors[source], quantization=quantization)
    return replace(quantised, tensors=tuple(tensors))


def _best_range(scores: np.ndarray) -> tuple[float, float]:
    """The range of 8-bit scores (n, classes) whose SOFTMAX is nearest to that of the scores themselves."""
    right = log_softmax(scores)
    most = scores.max(axis=1)
    lows = np.linspace(scores.min(), np.median(scores), RANGES)
    highs = np.quantile(most, (1.0, 0.99, 0.97, 0.95, 0.9))
    found = []
    for low in lows:
        for high in highs[highs > low]:
            step = (high - low) / 255
            rounded = np.rint((np.clip(scores, low, high) - low) / step) * step
            nats = (np.exp(right) * (right - log_softmax(rounded))).sum(axis=1).mean()
            found.append((float(nats), float(low), float(high)))
    if not found:
        return float(scores.min()), float(scores.max() + 1e-6)
    return min(found)[1:]


def _put_bias(
    graph: Graph,
    weight: Weight,
    tensors: list[Tensor],
    operator: Operator,
    source: Quantization,
    own: EightBits,
) -> bool:
    """Puts the float bias of a weight's layer in steps of the new scales; whether that could be done."""
    inputs = graph.operators[weight.operator_index].inputs
    bias = inputs[2] if len(inputs) > 2 else -1
    index = operator.inputs[2] if len(operator.inputs) > 2 else -1
    if index < 0:
        return True
    found = tensors[index]
    if found.dtype != "INT32" or found.quantization is None or not found.is_dense_array:
        return False
    values = np.zeros(found.shape, np.float32) if bias < 0 else graph.tensors[bias].data
    assert values is not None
    # A channel without weights may have any scale: one that keeps its bias, which is all that it has.
    least = np.abs(values.astype(np.float64)) / (source.scales[0] * np.float64(BIAS_STEPS))
    own.scales[own.empty] = np.maximum(bfloat16(least.astype(np.float32)), SMALLEST_SCALE)[own.empty]
    scales = (np.float32(source.scales[0]) * own.scales).astype(np.float32)
    quantization = replace(found.quantization, scales=scales, minimums=None, maximums=None)
    tensors[index] = replace(found, data=_steps(values, scales), quantization=quantization)
    return True


def _steps(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """int32 whole numbers of float values (channels,) in steps of ``scales`` (channels,)."""
    limit = np.iinfo(np.int32).max
    return np.clip(np.rint(values.astype(np.float64) / scales), -limit, limit).astype(np.int32)


def _by_name(graph: Graph) -> dict[str, int]:
    """Constants by their names; one that is there twice is not among them."""
    names = [tensor.name for tensor in graph.tensors]
    return {
        name: index
        for index, name in enumerate(names)
        if graph.tensors[index].is_dense_array and names.count(name) == 1
    }


def _without_empty_channels(graph: Graph) -> Graph:
    changes = {}
    for weight in graph.weights():
        if not weight.tensor.is_dense_array or weight.array.dtype != np.float32:
            continue
        channels = np.moveaxis(weight.array, weight.channel_axis, 0)
        empty = ~channels.reshape(len(channels), -1).any(axis=1)
        if empty.any():
            filled = channels.copy()
            filled.reshape(len(channels), -1)[empty, 0] = EMPTY_CHANNEL * max(
                float(np.abs(channels).max()), 1e-6
            )
            changes[weight.tensor_index] = np.ascontiguousarray(np.moveaxis(filled, 0, weight.channel_axis))
    return graph.with_data(changes)


def _sample(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    sample = np.asarray(image, np.float32)
    if sample.shape == shape[1:]:
        sample = sample[None]
    if sample.shape != shape:
        raise DataError(
            "a calibration image has another shape than the graph's input",
            expected=f"{shape} or {shape[1:]}",
            found=str(np.shape(image)),
        )
    return sample


def _quantise(model: bytes, samples: list[np.ndarray]) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    try:
        quantised = Calibrator(model).calibrate_and_quantize(
            lambda: iter([[sample] for sample in samples]),
            tf.float32,
            tf.float32,
            allow_float=True,
            activations_type=tf.int8,
            resize_input=False,
        )
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            "TensorFlow could not quantise the graph",
            expected="operators with an int8 form",
            found=str(error).splitlines()[0][:300] if str(error) else type(error).__name__,
        ) from error
    return bytes(quantised)
