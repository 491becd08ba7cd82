"""How a model is used, by its own words: TFLite metadata, attached labels, notes of its exporter. Pure.

Commands work with the findings of :func:`own_usage` unless the user says otherwise; findings that it cannot use are put
in words.
"""

from __future__ import annotations

import numpy as np

from device_agent.record.preprocess import PREPROCESS, Preprocess
from device_agent.record.task import Task
from device_agent.record.usage import MAX_LABELS, Usage, picture_shape
from device_agent.record.visible import visible
from sdk.graph.embedded.model_metadata import TFLITE_METADATA
from sdk.graph.embedded.own_words import OwnWords, words_of
from sdk.graph.own_task import clues_of, own_fit, own_task
from sdk.graph.records import Graph, Tensor

#: Characters of a label that are kept.
_MAX_LABEL = 256
#: A package's metadata are at most 64 KiB; recipes need some of it.
_MOST_LABEL_BYTES = 56 << 10
#: By how much black and white may miss 0 and 255 of a uint8 input before the stated normalisation is not believed.
_PIXEL_MISS = 64


def own_words(graph: Graph) -> OwnWords:
    """What the graph's metadata and attached files say."""
    return words_of(dict(graph.metadata).get(TFLITE_METADATA), graph.attached)


def own_usage(graph: Graph) -> tuple[Usage, tuple[str, ...]]:
    """How the model is used by its own words, and notes on what of them is not used, and why."""
    words = own_words(graph)
    notes = [visible(problem) for problem in words.problems]
    preprocess = _preprocess(graph, words, notes)
    labels = _labels(graph, words, notes)
    task = own_task(clues_of(graph, words, len(labels)))
    preprocess = preprocess or usual_preprocess(graph, task)
    return Usage(preprocess, labels=labels, task=task, fit=own_fit(task)), tuple(notes)


def _preprocess(graph: Graph, words: OwnWords, notes: list[str]) -> Preprocess | None:
    """Of the first input, where that is an image."""
    said = words.input(0)
    entry = graph.tensors[graph.inputs[0]] if graph.inputs else None
    channels = picture_shape(entry.shape)[2] if entry is not None and len(entry.shape) == 4 else None
    if words.notes is not None and not said.mean:
        return PREPROCESS["01"] if channels in (1, 3, None) else None
    is_image = said.content == "image" or (not said.content and channels in (1, 3))
    if not is_image or not (said.mean and said.deviation):
        return None
    if 0.0 in said.deviation or {len(said.mean), len(said.deviation)} - {1, channels or len(said.mean)}:
        notes.append(
            f"the metadata normalise with a mean of {len(said.mean)} and a deviation of {len(said.deviation)} values, "
            "which do not fit the input: they are not used"
        )
        return None
    found = _named(said.mean, said.deviation)
    pixels = None if entry is None else _pixels_as_they_are(entry)
    if entry is not None and pixels is not None and not _reaches(entry, found):
        notes.append(
            "the metadata's mean and deviation do not lead to the whole range of the uint8 input: "
            "pixels go in as they are"
        )
        return pixels
    return found


def usual_preprocess(graph: Graph, task: Task | None) -> Preprocess | None:
    """The preprocessing that needs no statement: bytes are pixels, a YOLO takes them from 0 to 1; else None.

    One channel may be a spectrogram, so it needs a statement.
    """
    entry = graph.tensors[graph.inputs[0]] if graph.inputs else None
    if entry is None or len(entry.shape) != 4 or picture_shape(entry.shape)[2] != 3:
        return None
    pixels = _pixels_as_they_are(entry)
    if pixels is not None or task is None or "yolo" not in task.form:
        return pixels
    return PREPROCESS["01"]


def _named(mean: tuple[float, ...], deviation: tuple[float, ...]) -> Preprocess:
    """The preprocessing of a name where one stands for these numbers, else one by its numbers."""
    mean, deviation = (v[:1] if len(set(v)) == 1 else v for v in (mean, deviation))
    for known in PREPROCESS.values():
        if known.bgr:  # metadata say nothing of the order of channels
            continue
        if (len(known.mean), len(known.scale)) == (len(mean), len(deviation)) and np.allclose(
            (*known.mean, *known.scale), (*mean, *deviation), rtol=1e-5, atol=1e-5
        ):
            return known
    numbers = (",".join(str(np.float32(v)) for v in values) for values in (mean, deviation))
    return Preprocess.parse("mean={}:scale={}".format(*numbers))


def _pixels_as_they_are(entry: Tensor) -> Preprocess | None:
    """For a quantised uint8 input, what makes the stored number of a pixel the pixel itself."""
    if entry.dtype != "UINT8" or entry.quantization is None or entry.quantization.scales.size != 1:
        return None
    scale, zero = _step(entry)
    return _named((float(zero),), (1.0 / scale,)) if scale > 1e-6 else None


def _reaches(entry: Tensor, preprocess: Preprocess) -> bool:
    """Whether black and white become about 0 and 255 of the uint8 input, as its author must have meant."""
    scale, zero = _step(entry)
    for pixel in (0.0, 255.0):
        stored = (pixel - np.asarray(preprocess.mean)) / np.asarray(preprocess.scale) / scale + zero
        if np.abs(stored - pixel).max() > _PIXEL_MISS:
            return False
    return True


def _step(entry: Tensor) -> tuple[float, int]:
    """Scale and zero point of a quantised tensor that has one of each; a scale of 0 where it has none."""
    if entry.quantization is None:
        return 0.0, 0
    zeros = entry.quantization.zero_points.ravel()
    return float(entry.quantization.scales[0]), int(zeros[0]) if zeros.size else 0


def _labels(graph: Graph, words: OwnWords, notes: list[str]) -> tuple[str, ...]:
    """Of the first output that has some; else those that the model has without saying of which output they are."""
    count = len(words.metadata.outputs) if words.metadata else 0
    found = next((labels for position in range(count) if (labels := words.labels_of(position))), ())
    shapes = [graph.tensors[output].shape for output in graph.outputs]
    scores = shapes[0][1] if len(shapes) == 1 and len(shapes[0]) == 2 else None
    found = found or words.loose_labels(scores)
    labels = tuple(visible(label, most=_MAX_LABEL).replace("\N{NO-BREAK SPACE}", " ") for label in found)
    if len(labels) > MAX_LABELS:
        notes.append(f"the model's {len(labels)} labels are not used: at most {MAX_LABELS} are")
        return ()
    size = sum(len(label.encode()) + 3 for label in labels)  # quotes and a comma
    if size > _MOST_LABEL_BYTES:
        notes.append(
            f"the model's {len(labels)} labels are not used: {size} bytes do not fit into a package's metadata, which "
            f"hold {_MOST_LABEL_BYTES} bytes of them; they stay in the model's own file"
        )
        return ()
    if labels and scores not in (None, 1, len(labels)):
        notes.append(
            f"the model's own {len(labels)} labels are not used: it gives {scores} scores. "
            "Name the right ones with --labels FILE."
        )
        return ()
    return labels
