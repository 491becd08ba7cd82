"""Kinds of files by their first bytes and names, with advice for each. Pure tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """The kind of a file. ``reader``: the converter that reads it; "" if none does; then ``hint`` says what helps."""

    words: str
    hint: str = ""
    reader: str = ""


EXPORT_LINES = (
    "program = torch.export.export(network.eval(), (torch.zeros(1, 3, 224, 224),)); "
    'torch.export.save(program, "model.pt2")'
)
_TO_ONNX = "Export the network that it was made of to ONNX or Keras, and convert that."
_FETCH_AGAIN = "Fetch the file again"

TFLITE = Kind("a .tflite file", reader="tflite")
PACKAGE = Kind("an Armlet package", "It is deployed as it is; `sdk unpack` gives the .tflite in it.")
EMPTY = Kind("an empty file", f"{_FETCH_AGAIN}: nothing of it has arrived.")
ZEROS = Kind(
    "a file that begins with zeros only", f"{_FETCH_AGAIN}: the download was reserved and not filled."
)
KERAS_3 = Kind("a Keras file", reader="keras")
KERAS_2 = Kind("a Keras 2 file", reader="keras 2")
ONNX = Kind("an ONNX model", reader="onnx")
TORCH_PROGRAM = Kind("a PyTorch program (torch.export)", reader="torch")
STATE_DICT = Kind(
    "a PyTorch state dict: weights, and no network",
    f"Make the network, network.load_state_dict(torch.load(FILE)), then: {EXPORT_LINES}",
)
TORCHSCRIPT = Kind(
    "a TorchScript file, which no converter takes",
    f"Export the Python network that it was made of: {EXPORT_LINES}",
)
TORCH_UNKNOWN = Kind("a PyTorch file", f"Load it where its network is defined, then: {EXPORT_LINES}")
KERAS_WEIGHTS = Kind(
    "a file of Keras weights, without the network",
    'Make the network in Python, model.load_weights(FILE), then model.save("model.keras"), and convert that.',
)
KERAS_ARCHITECTURE = Kind(
    "the architecture of a Keras model, without weights",
    'keras.models.model_from_json(text), model.load_weights(FILE), then model.save("model.keras").',
)
FROZEN = Kind(
    "a frozen TensorFlow 1 graph (GraphDef)",
    "TensorFlow 2 converts it once its inputs and outputs are named: "
    "tf.compat.v1.lite.TFLiteConverter.from_frozen_graph(FILE, [input], [output]).convert() gives a .tflite.",
)
SAVED_MODEL_FILE = Kind(
    "the saved_model.pb of a SavedModel", "Give the folder in which it lies, with variables/ beside it."
)
LFS = Kind(
    "a pointer of git-lfs, not the file itself",
    "Fetch the file: git lfs install && git lfs pull, in its repository.",
)
HTML = Kind(
    "a page of HTML, not a model",
    f"{_FETCH_AGAIN}: the link leads to a page. On GitHub use the raw link, on Hugging Face .../resolve/main/...",
)
XML_ERROR = Kind("an XML text, not a model", f"Open it to see what the server said. {_FETCH_AGAIN}.")
JSON_TEXT = Kind(
    "a JSON text, not a model", "Open it to see what it says; of a model, give the file with the weights."
)
TFJS = Kind(
    "a TensorFlow.js model",
    "Turn it back: tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras, and convert that.",
)
CUT_ZIP = Kind("the beginning of a zip file, cut off", f"{_FETCH_AGAIN}: its end is missing.")
CUT_HDF5 = Kind("an HDF5 file that is cut off", f"{_FETCH_AGAIN}: its end is missing.")
OTHER_HDF5 = Kind(
    "an HDF5 file without a Keras model",
    'Save the model itself: model.save("model.keras"), and convert that.',
)

#: Where, what stands there, and what it is then.
_STARTS: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"version https://git-lfs", LFS),
    (
        0,
        b"\x1f\x8b",
        Kind("a gzip file", "Unpack it first: tar -xzf FILE, or gunzip FILE, and give what is in it."),
    ),
    (
        0,
        b"BZh",
        Kind("a bzip2 file", "Unpack it first: tar -xjf FILE, or bunzip2 FILE, and give what is in it."),
    ),
    (
        0,
        b"\xfd7zXZ",
        Kind("an xz file", "Unpack it first: tar -xJf FILE, or unxz FILE, and give what is in it."),
    ),
    (0, b"\x28\xb5\x2f\xfd", Kind("a zstd file", "Unpack it first: unzstd FILE, and give what is in it.")),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z file", "Unpack it first: 7z x FILE, and give what is in it.")),
    (0, b"Rar!", Kind("a rar file", "Unpack it first, and give what is in it.")),
    (257, b"ustar", Kind("a tar file", "Unpack it first: tar -xf FILE, and give what is in it.")),
    (
        0,
        b"GGUF",
        Kind("a GGUF language model", "Armlet deploys networks of .tflite; run this one with llama.cpp."),
    ),
    (4, b"ORTM", Kind("a model in ONNX Runtime's own format (.ort)", "Give the .onnx that it was made of.")),
    (
        4,
        b"ET12",
        Kind("an ExecuTorch program (.pte)", f"Export the network that it was made of: {EXPORT_LINES}"),
    ),
    (
        0,
        b"ptrt",
        Kind("a TensorRT engine", "It runs on NVIDIA's processors only. Give the .onnx that it was made of."),
    ),
    (
        0,
        b"RKNN",
        Kind("a model compiled for Rockchip's NPU (.rknn)", "Give the .onnx or .tflite that it was made of."),
    ),
    (0, b"7767517", Kind("the network of an ncnn model (.param)", _TO_ONNX)),
    (0, b"\x93NUMPY", Kind("a numpy array (.npy)", "It is data, not a model.")),
    (0, b"\x89PNG", Kind("a PNG picture, not a model", "`sdk predict MODEL PICTURE` takes the model first.")),
    (
        0,
        b"\xff\xd8\xff",
        Kind("a JPEG picture, not a model", "`sdk predict MODEL PICTURE` takes the model first."),
    ),
    (
        0,
        b"\x7fELF",
        Kind("a program or library (ELF), not a model", "Give the model file that it was built with."),
    ),
    (0, b"%PDF", Kind("a PDF document, not a model", "Give the model file.")),
    (0, b"[net]", Kind("the configuration of a Darknet network", _TO_ONNX)),
    (0, b"[convolutional]", Kind("the configuration of a Darknet network", _TO_ONNX)),
)
#: By the end of its name, where its bytes do not say it.
_ENDINGS: tuple[tuple[tuple[str, ...], Kind], ...] = (
    ((".mnn",), Kind("an MNN model", _TO_ONNX)),
    ((".param",), Kind("the network of an ncnn model (.param)", _TO_ONNX)),
    ((".param.bin", ".ncnn.bin"), Kind("a part of an ncnn model", _TO_ONNX)),
    ((".pdmodel", ".pdiparams"), Kind("a PaddlePaddle model", "Turn it into ONNX with paddle2onnx, and convert that.")),
    ((".caffemodel", ".prototxt"), Kind("a Caffe model", "Turn it into ONNX first, and convert that.")),
    ((".mlmodel", ".mlpackage", ".mlmodelc"), Kind("a Core ML model", _TO_ONNX)),
    ((".weights",), Kind("weights of a Darknet network", _TO_ONNX)),
    ((".tmfile",), Kind("a Tengine model", _TO_ONNX)),
    ((".hef",), Kind("a model compiled for Hailo's processors", "Give the .onnx or .tflite that it was made of.")),
    ((".dlc",), Kind("a model of Qualcomm's SNPE", "Give the .onnx or .tflite that it was made of.")),
    ((".kmodel",), Kind("a model compiled for Kendryte's processors", "Give the .tflite that it was made of.")),
    ((".nb",), Kind("a compiled model (.nb)", "Give the model that it was made of.")),
    ((".engine", ".plan", ".trt"), Kind("a TensorRT engine", "Give the .onnx that it was made of.")),
    ((".ckpt.index", ".ckpt.meta", ".meta", ".index"), Kind(
        "a part of a TensorFlow checkpoint", "Checkpoints hold weights only: load them, and model.export(folder).")),
    ((".py",), Kind("Python source", "Run it, and save its model: model.save(...) or torch.export.save(...).")),
    ((".ipynb",), Kind("a notebook", "Run it, and save its model: model.save(...) or torch.export.save(...).")),
    ((".cc", ".c", ".h", ".cpp"), Kind(
        "C source", "A model as a C array is turned back by writing its bytes to a file: xxd -r -p.")),
    ((".pkl", ".pickle", ".joblib"), Kind("a pickle", "scikit-learn's and other pickles are not networks.")),
)  # fmt: skip
_HTML = (b"<!doctype html", b"<html", b"<head", b"<!--")


def by_start(head: bytes) -> Kind | None:
    """The kind of file that begins so; None where it is unknown."""
    for at, mark, kind in _STARTS:
        if head[at : at + len(mark)] == mark:
            return kind
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_HTML):
        return HTML
    if text.startswith(b"<"):
        return _OPENVINO if b"<net " in text or b"<layers" in text else XML_ERROR
    return None


_OPENVINO = Kind("the network of an OpenVINO model (.xml)", _TO_ONNX)


def by_ending(name: str) -> Kind | None:
    """The kind of a file of this name; None for names without a known ending."""
    lowered = name.lower()
    return next((kind for endings, kind in _ENDINGS if lowered.endswith(endings)), None)
