"""TensorFlow's converter: a concrete function -> ``.tflite`` bytes with a signature that names what goes in and out.

Batch norm is folded by the converter.  Nothing is quantised, unless the model was trained to be.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from typing import Any

from sdk.errors import ModelError
from sdk.graph.on_host.sources.telling import conversion_failed
from sdk.graph.reader import read_subgraphs
from sdk.graph.records import Signature
from sdk.graph.writer import with_signature

SIGNATURE = "serving_default"
#: What TensorFlow says where a variable that a model writes to would become a constant.
_WRITTEN_VARIABLE = re.compile(
    r"Input 0 of node (\S+)/Assign\w*VariableOp\S* was passed .* incompatible with expected resource"
)
#: Operators that a quantisation-aware training leaves behind.
_FAKE_QUANT = "FakeQuant"


def run_converter(function: Any, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The concrete function as ``.tflite`` bytes whose signature has these names. Raises ModelError.

    A function that keeps a state raises :class:`KeepsState`, which names the variable that it writes to.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        # Frozen first: the converter otherwise leaves some variables as resources and folds nothing into them.
        try:
            frozen = convert_variables_to_constants_v2(function)
        except ValueError as error:
            written = _WRITTEN_VARIABLE.search(str(error))
            if written is None:
                raise
            raise KeepsState(
                f"{name} keeps a state of its own, which the converter does not carry over",
                expected="layers without a state between calls",
                found=f"a variable that is written to: {written.group(1)}",
                hint="Build the layer with stateful=False, or make its state an input and an output of the model.",
            ) from error
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        if is_trained_for_int8(frozen.graph):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return named(bytes(converter.convert()), inputs, outputs)
    except ModelError:
        raise
    except Exception as error:  # the converter raises its own ConverterError and plain RuntimeErrors
        raise converter_failed(name, error) from error


class KeepsState(ModelError):
    """A function writes to a variable of its own."""


def converter_failed(name: str, error: BaseException) -> ModelError:
    """The error for a failure of TensorFlow's converter."""
    return conversion_failed(
        name,
        f"TensorFlow could not convert {name}",
        error,
        hint="Replace what is named, or convert with your own script and pass the .tflite.",
    )


def is_trained_for_int8(graph: Any) -> bool:
    """Whether the TensorFlow graph holds what a quantisation-aware training leaves behind."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for one in definition.library.function for node in one.node_def)]
    return any(node.op.startswith(_FAKE_QUANT) for node in nodes)


def named(tflite: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The model with a signature of these names, in the order of its inputs and outputs.

    Where the numbers differ, the signature has the tensors' own names.
    """
    graph = read_subgraphs(tflite)[0]

    def pairs(names: Sequence[str], numbers: Sequence[int]) -> tuple[tuple[str, int], ...]:
        own = names if len(set(names)) == len(numbers) else [graph.tensors[n].name for n in numbers]
        return tuple(zip(own, numbers, strict=True))

    signature = Signature(SIGNATURE, pairs(inputs, graph.inputs), pairs(outputs, graph.outputs))
    return with_signature(tflite, signature)


def has_signature(tflite: bytes) -> bool:
    """Whether the model's first subgraph has a signature."""
    return bool(read_subgraphs(tflite)[0].signatures)


def with_state(model: Any, call: Any, name: str) -> bytes:
    """A function with a state as ``.tflite`` bytes that keep it in variables. Raises ModelError.

    ``call``: a tf.function with an input signature that gives a dict; ``model`` holds its variables.
    """
    import tensorflow as tf

    try:
        with tempfile.TemporaryDirectory() as folder:
            module = tf.Module()
            module.held, module.call = model, call
            tf.saved_model.save(module, folder, signatures={SIGNATURE: call.get_concrete_function()})
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
            converter.experimental_enable_resource_variables = True
            return bytes(converter.convert())
    except Exception as error:
        raise converter_failed(name, error) from error
