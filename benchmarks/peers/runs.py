"""Runs one model on ONNX Runtime, MNN, ncnn or LiteRT with one thread; here, and inside the emulated userland.

    python3 runs.py SITE_PACKAGES PEER MODEL INFERENCES [SIZE]

As a script it prints nothing and marks each inference for sdk.board.emulation's QEMU plugin, as
``sdk/board/emulation/guest_inference.py`` does. Needs numpy and the peer, nothing of the project.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

MARK = 0x41524D4C  # count_instructions.c knows the same number
#: What each peer reads; the name of its Python module.
SUFFIXES = {"ai-edge-litert": ".tflite", "onnxruntime": ".onnx", "MNN": ".mnn", "ncnn": ".ncnn.param"}
MODULES = {"ai-edge-litert": "ai_edge_litert", "onnxruntime": "onnxruntime", "MNN": "MNN", "ncnn": "ncnn"}


def ready(peer: str, model: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """(one inference of the input that is set, the outputs for an image (1, height, width, 3))."""
    return {
        "ai-edge-litert": _litert,
        "onnxruntime": _onnxruntime,
        "MNN": _mnn,
        "ncnn": _ncnn,
    }[peer](model)


def _litert(model: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model, num_threads=1)
    interpreter.allocate_tensors()
    entry, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def predict(image: Any) -> Any:
        interpreter.set_tensor(entry["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(answer["index"])

    return interpreter.invoke, predict


def _onnxruntime(model: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    held = {entry.name: np.zeros(entry.shape, np.float32)}

    def predict(image: Any) -> Any:
        held[entry.name] = _channels_first(image)
        return session.run(None, held)[0]

    return lambda: session.run(None, held), predict


def _mnn(model: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    import MNN
    import numpy as np

    interpreter = MNN.Interpreter(model)
    session = interpreter.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
    entry = interpreter.getSessionInput(session)

    def predict(image: Any) -> Any:
        values = _channels_first(image)
        entry.copyFrom(
            MNN.Tensor(values.shape, MNN.Halide_Type_Float, values, MNN.Tensor_DimensionType_Caffe)
        )
        interpreter.runSession(session)
        output = interpreter.getSessionOutput(session)
        shape = output.getShape()
        answer = MNN.Tensor(
            shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), MNN.Tensor_DimensionType_Caffe
        )
        output.copyToHostTensor(answer)
        return np.array(answer.getData(), np.float32).reshape(1, -1)

    return lambda: interpreter.runSession(session), predict


def _ncnn(model: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    import ncnn
    import numpy as np

    net = ncnn.Net()
    net.opt.num_threads = 1
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, name, False)
    net.load_param(model)
    net.load_model(model[: -len("param")] + "bin")
    held = [ncnn.Mat()]

    def run() -> Any:
        extractor = net.create_extractor()
        extractor.input("in0", held[0])
        return np.array(extractor.extract("out0")[1])  # a copy: the output dies with its extractor

    def predict(image: Any) -> Any:
        values = _channels_first(image)[0]  # must outlive the Mat that looks at it
        held[0] = ncnn.Mat(values).clone()
        return run().reshape(1, -1)

    return run, predict


def _channels_first(image: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(np.moveaxis(image, 3, 1), np.float32)


def mark() -> None:
    with contextlib.suppress(OSError):
        os.close(MARK)


def main() -> None:
    folders, peer, model, inferences, *sizes = sys.argv[1:]
    size = int(sizes[0]) if sizes else 224
    sys.path[:] = [*folders.split(os.pathsep), *sys.path]
    import numpy as np

    run, predict = ready(peer, model)
    predict(np.random.RandomState(0).uniform(-1.0, 1.0, (1, size, size, 3)).astype(np.float32))
    mark()
    mark()
    mark()
    for _ in range(int(inferences)):
        run()
        mark()


if __name__ == "__main__":
    main()
