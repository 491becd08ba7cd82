"""The whole path on two real networks and real digits: what ``sdk demo`` does, step by step.

MobileNet V1 and ShuffleNet V1, trained on handwritten digits (:mod:`sdk.models.train_digits`), are read, pruned,
clustered, packed, pushed over SSH, decoded by the agent and run there. Accuracy is counted three times on digits that
training never saw: the original on the host, the compressed model on the host, and the compressed model on the board.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device_agent.package import reader as package_format
from sdk.api.board_requests import Bench, Demo
from sdk.api.files.compressing import compress_graph
from sdk.api.files.golden import golden_pair
from sdk.api.measuring.measure import measure
from sdk.compress.recipes.recipe import Recipe
from sdk.deploy.session import Session, open_scratch_session
from sdk.explain.run import Accuracy, Report
from sdk.graph.on_host.evaluate import predict, top1
from sdk.graph.on_host.sources.convert import convert
from sdk.graph.writer import write_graph
from sdk.models import digits
from sdk.models.demo import demo_models
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import DemoOptions

GOLDEN_INPUTS = 4  # digits that the board must answer like the host before it takes the model


def run(
    board: str = "local",
    *,
    progress: Progress = silent,
    **options: Unpack[DemoOptions],
) -> Report:
    """Runs the demo's two networks on ``board`` and returns the report; nothing of them stays there. ``options``: see
    :class:`sdk.api.board_requests.Demo`. Raises TypeError for others."""
    request = build(Demo, options, function="demo.run")
    recipe = Recipe(sparsity=request.sparsity, clusters=request.clusters)
    held_out = digits.load_splits()["test"]
    images = held_out.inputs()
    originals, packages = {}, []
    for model in demo_models():
        progress(f"convert {model.title}", 0, 0)
        graph = convert(model.path)
        originals[model.name] = write_graph(graph)
        metadata = {
            "input": {"preprocess": digits.PREPROCESS, "shape": list(images.shape[1:])},
            "labels": [str(n) for n in range(digits.CLASSES)],
        }
        package = compress_graph(graph, recipe, name=model.name, metadata=metadata, progress=progress)
        packages.append((model.name, package))

    with open_scratch_session(board, request, progress) as session:
        accuracies = {}
        for name, package in packages:
            golden = golden_pair(package, inputs=images[:GOLDEN_INPUTS])
            session.agent.deploy(package, name, golden=golden, progress=progress)
            accuracies[name] = _accuracy(
                session, name, originals[name], package, images, held_out.labels, progress
            )
        return measure(
            session,
            packages,
            Bench(samples=request.samples, seconds=request.seconds),
            accuracies=accuracies,
            progress=progress,
        )


def _accuracy(
    session: Session,
    name: str,
    original: bytes,
    package: bytes,
    images: np.ndarray,
    labels: np.ndarray,
    progress: Progress,
) -> Accuracy:
    """Right answers of the original here, of the compressed model here, and of the same model there."""
    compressed = package_format.unpack(package).tflite
    before = top1(predict(original, images, progress=lambda i, n: progress(f"check {name}", i, n)))
    after = top1(
        predict(compressed, images, progress=lambda i, n: progress(f"check compressed {name}", i, n))
    )
    there = top1(session.agent.run(name, images, kernel=session.kernel, progress=progress).outputs)
    return Accuracy(
        data="handwritten digits (optdigits) that training never saw",
        samples=len(labels),
        original_correct=int(np.sum(before == labels)),
        compressed_correct=int(np.sum(after == labels)),
        board_correct=int(np.sum(there == labels)),
        board_agrees=int(np.sum(there == after)),
    )
