"""Makes the prepared text of skeletons: what .tflite files have in common, for Python and for C.

    python -m tests.golden.make_prepared

The text is made of field strings that every converter writes, names that Keras and Slim give to layers, and the
skeletons of three small models that are made and converted here. What is kept is LZMA's stream of it, up to the byte
from which on streams of different skeletons differ: a decoder puts it before the stream of a package, and drops the
text again. A new text would be a new codec: packages name this one by its number.
"""

from __future__ import annotations

import base64
from pathlib import Path

from device_agent.package.codec.lz import PREPARED_PROPERTIES
from sdk.package.lz_encode import lzma_stream
from sdk.package.spans import weight_buffers

_ROOT = Path(__file__).parents[2]
PYTHON = _ROOT / "device_agent" / "package" / "codec" / "prepared.py"
C = _ROOT / "sdk" / "deploy" / "native" / "source" / "prepared.h"

#: Names as converters write them; each once, since what is found again later costs a few bits.
STRINGS = """
TOCO Converted. model/ sequential/ functional_1/ keras_model resnet/ MobilenetV1/Conv2d_ MobilenetV2/expanded_conv_1/
FeatureExtractor/MobilenetV2/ BoxPredictor_0/ClassPredictor/ BoxEncodingPredictor
/weights_quant/FakeQuantWithMinMaxVars /act_quant/FakeQuantWithMinMaxVars _Fold_bias weights_quant
/Conv2D/ReadVariableOp/resource /depthwise/ReadVariableOp /BiasAdd/ReadVariableOp/resource
/MatMul/ReadVariableOp/transpose /depthwise_weights /pointwise_weights /kernel/Read /bias/Read /gamma /beta
/moving_mean /moving_variance /BatchNorm/FusedBatchNormV3 /batch_normalization_1/FusedBatchNormV3 /batchnorm/mul_1
/batchnorm/add_1 /batchnorm/sub /separable_conv2d/depthwise /conv1d/ExpandDims /SpaceToBatchND /BatchToSpaceND
/lstm_cell/ /while/ TensorArrayV2Read/TensorListGetItem /Reshape/shape /Pad/paddings /Squeeze /Concatenation
/concat/axis /Softmax /Sigmoid /LeakyRelu /Relu6 /strided_slice/stack_1 /strided_slice/stack_2
TFLite_Detection_PostProcess custom_options detection_boxes scores classes TFLITE_METADATA associated_files
labels.txt label_map.txt Image to be classified input_image image probability NormalizationOptions
min_runtime_version CONVERSION_METADATA reduced_precision_support serving_default_input_1:0 serving_default_input
StatefulPartitionedCall:0 StatefulPartitionedCall:1 Identity_1 Identity
"""
_END = 0xA5  # a byte that ends the text: LZMA's encoder sees a long match of it and decides all that comes before
_LONGEST_MATCH = 273


def text() -> bytes:
    """The prepared text; its size is a multiple of 16, so that LZMA's positions mean what they do without it."""
    parts = [" ".join(STRINGS.split()).encode(), *map(_skeleton, _models())]
    joined = b"".join(parts) + bytes([_END]) * (_LONGEST_MATCH + 1)
    return bytes(-len(joined) % 16) + joined


def stream(prepared: bytes) -> tuple[bytes, bytes]:
    """What the LZMA streams of this text and anything behind it have in common; what that of the text goes on with."""
    others = (b"", bytes(64), b"TFL3" * 9, bytes(range(256)), b'{"name":"digits"}')
    streams = [lzma_stream(prepared + other, PREPARED_PROPERTIES) for other in others]
    same = next(at for at, bytes_ in enumerate(zip(*streams, strict=False)) if len(set(bytes_)) > 1)
    return streams[0][:same], streams[0][same:]


def _skeleton(tflite: bytes) -> bytes:
    """Everything but the weights."""
    parts, position = [], 0
    for span in weight_buffers(tflite):
        if span.size >= 16:
            parts.append(tflite[position : span.offset])
            position = span.offset + span.size
    return b"".join([*parts, tflite[position:]])


def _models() -> list[bytes]:
    """Three small models: float32 and int8 with convolutions, and one of dense layers."""
    import numpy as np
    import tensorflow as tf

    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(1)
    image = layers.Input((16, 16, 3), name="input_1")
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, 2, "same", use_bias=False)(image)))
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    x = layers.Add()([x, layers.Conv2D(8, 1)(layers.ReLU(6.0)(y))])
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x))
    x = layers.Dense(10, "softmax")(layers.Dense(16, "relu")(x))
    network = tf.keras.Model(image, x)
    plain = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(1)
    converter.representative_dataset = lambda: ([rng.random((1, 16, 16, 3), np.float32)] for _ in range(4))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    small = tf.keras.Sequential(
        [layers.Input((28, 28)), layers.Flatten(), layers.Dense(20, "relu"), layers.Dense(10)]
    )
    dense = tf.lite.TFLiteConverter.from_keras_model(small).convert()
    return [plain, converter.convert(), dense]


def python_source(size: int, prepared: bytes, end: bytes) -> str:
    """The module of the decoder in Python."""
    encoded = base64.b85encode(prepared).decode()
    lines = [encoded[at : at + 100] for at in range(0, len(encoded), 100)]
    body = "\n".join(f'    r"{line}"' for line in lines)
    return (
        '"""The prepared text of skeletons, as LZMA\'s stream; tests.golden.make_prepared makes this file."""\n\n'
        "import base64\n\n"
        f"PREPARED_SIZE = {size}  # bytes of the text\n"
        f"PREPARED_STREAM = base64.b85decode(\n{body}\n)\n"
        f'PREPARED_END = bytes.fromhex("{end.hex()}")  # with it the stream is whole, and gives the text alone\n'
    )


def c_source(size: int, prepared: bytes) -> str:
    """The header of the decoder in C."""
    rows = [prepared[at : at + 24] for at in range(0, len(prepared), 24)]
    body = "\n".join("    " + " ".join(f"{byte}," for byte in row) for row in rows)
    return (
        "/* The prepared text of skeletons, as LZMA's stream; tests.golden.make_prepared makes this file. */\n"
        f"enum {{ PREPARED_SIZE = {size} }}; /* bytes of the text */\n"
        f"static const uint8_t prepared_stream[] = {{\n{body}\n}};\n"
    )


def main() -> None:
    """Writes both files."""
    prepared = text()
    coded, end = stream(prepared)
    PYTHON.write_text(python_source(len(prepared), coded, end))
    C.write_text(c_source(len(prepared), coded))
    print(f"{len(prepared)} bytes of text, {len(coded)} of its stream")


if __name__ == "__main__":
    main()
