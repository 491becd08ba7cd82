"""How a model is used, by its file and the options: preprocessing, mirroring, labels.

A ``.tflite`` holds it as JSON in the metadata entry :data:`USAGE_METADATA`, so that it survives every step from ``sdk
convert`` on. Options go before it; TFLite metadata of the model's author (:mod:`sdk.graph.own_usage`) come after it. In
a package it is part of the metadata (:mod:`device_agent.record.usage`), where the board reads it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.package.codec.contents import Unpacked
from device_agent.record.preprocess import Preprocess
from device_agent.record.schema import parse_json
from device_agent.record.task import DETECTIONS, Task
from device_agent.record.usage import Usage, check_labels, picture_shape
from device_agent.tensors.tensor import TensorInfo
from sdk.data.meaning.known_preprocess import known_preprocess
from sdk.data.meaning.label_files import parse_labels
from sdk.errors import DataError, ModelError
from sdk.graph.embedded.attached import read_attached
from sdk.graph.embedded.model_metadata import TFLITE_METADATA, metadata_entry
from sdk.graph.own_task import clues_of, own_fit, own_task, told_task
from sdk.graph.own_usage import own_usage, own_words, usual_preprocess
from sdk.graph.reader import read_subgraphs
from sdk.graph.records import Graph
from sdk.tools.system.files import read_file

#: Name of the metadata entry of a ``.tflite`` that says how it is used.
USAGE_METADATA = "armlet.usage"
#: That entry holds at most this many bytes: 65,536 labels of 256 characters.
MAX_USAGE_BYTES = 64 << 20


def usage_of(
    graph: Graph,
    *,
    preprocess: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    task: str | None = None,
    fit: str | None = None,
) -> Usage:
    """The usage in the graph, replaced by the options given here. Raises DataError, also for a wrong number of labels.

    ``labels`` is a file of labels, one per line in the order of the classes, or in another usual form. ``task``: see
    :func:`sdk.graph.own_task.told_task`; ``fit``: one of :data:`device_agent.record.task.FITS`.
    """
    stated, (own, _) = _stated(graph), own_usage(graph)
    told = stated.labels if labels is None else read_labels(Path(labels))
    clues = clues_of(graph, own_words(graph), len(told or own.labels))
    if told and own_task(clues) is None:
        clues = replace(clues, labels=0)  # labels that do not fit are told as such below
    found = told_task(task, clues) if task is not None else stated.task or own_task(clues)
    if told:
        _check_labels(told, _classes(graph, found))
    expected = None if preprocess is None else Preprocess.parse(preprocess)
    return Usage(
        expected
        or stated.preprocess
        or own.preprocess
        or usual_preprocess(graph, found)
        or _normalised_inside(graph),
        flip=graph.input_flips,
        labels=told or own.labels,
        task=found,
        fit=fit or stated.fit or own_fit(found),
    )


def _normalised_inside(graph: Graph) -> Preprocess | None:
    """What pixels go in where a network of float pictures in colour begins with a normalisation of its own."""
    entry = graph.tensors[graph.inputs[0]] if graph.inputs else None
    if (
        entry is None
        or entry.dtype != "FLOAT32"
        or len(entry.shape) != 4
        or picture_shape(entry.shape)[2] != 3
    ):
        return None
    info = TensorInfo(entry.name, tuple(entry.shape), np.dtype(np.float32), 0.0, 0)
    known = known_preprocess(info, graph)
    return None if known is None else known.preprocess


def usage_of_package(
    decoded: Unpacked,
    *,
    labels: str | os.PathLike[str] | None = None,
    task: str | None = None,
    fit: str | None = None,
) -> Usage:
    """The usage in a package, replaced by the options given here, as for :func:`usage_of`. Raises DataError."""
    stated = Usage.from_metadata(decoded.package.metadata)
    if labels is not None:
        stated = replace(stated, labels=read_labels(Path(labels)))
    if task is not None:
        graph = readable_part(decoded.tflite)
        found = told_task(task, clues_of(graph, own_words(graph), len(stated.labels)))
        stated = replace(stated, task=found, fit=stated.fit or own_fit(found))
    return stated if fit is None else replace(stated, fit=fit)


def _stated(graph: Graph) -> Usage:
    """What an earlier command wrote into the model."""
    raw = dict(graph.metadata).get(USAGE_METADATA)
    what = f"{USAGE_METADATA} of the model"
    stated = (
        {} if raw is None else parse_json(raw.rstrip(b"\0"), what=what, error=DataError, most=MAX_USAGE_BYTES)
    )
    if not isinstance(stated, dict):
        raise DataError(f"{USAGE_METADATA} of the model is not an object", found=type(stated).__name__)
    return Usage.from_metadata(stated)


def _classes(graph: Graph, task: Task | None) -> int | None:
    """How many classes the model tells apart; None where that is not known."""
    if task is not None and task.kind == DETECTIONS:
        return task.classes or None
    if task is not None and task.form not in ("row", "scores"):
        return None
    position = task.outputs[0] if task is not None else 0
    if position >= len(graph.outputs):
        return None
    shape = graph.tensors[graph.outputs[position]].shape
    return shape[-1] if shape else 0


def _check_labels(labels: tuple[str, ...], classes: int | None) -> None:
    """Raises DataError where these are not the labels of this many classes."""
    if classes is not None and classes != len(labels):
        raise DataError(
            "the labels are not those of this model",
            expected=f"{classes or 'no'} labels, one for each score",
            found=f"{len(labels)}",
        )


def usage_notes(graph: Graph, usage: Usage) -> tuple[str, ...]:
    """Notes on metadata of the model that are not used, and on an unknown task."""
    clues = clues_of(graph, own_words(graph), len(usage.labels))
    notes = own_usage(graph)[1]
    if (
        usage.task is None
        and clues.image is not None
        and not (len(clues.outputs) == 1 and clues.outputs[0].row)
    ):
        notes += (
            "what the outputs mean is not known, so the answer will be the outputs themselves: "
            "name it with --task",
        )
    return notes


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file by class number, as :mod:`sdk.data.meaning.label_files` reads it."""
    return check_labels(parse_labels(read_file(path, "a text file, one label per line"), path.name))


def with_usage(graph: Graph, usage: Usage) -> Graph:
    """The graph that says so in its own metadata. (What is mirrored it says already, and what its author said.)"""
    own, _ = own_usage(graph)
    usage = replace(
        usage,
        flip=(),
        preprocess=None if usage.preprocess == own.preprocess else usage.preprocess,
        labels=() if usage.labels == own.labels else usage.labels,
        task=None if usage.task == own.task else usage.task,
        fit=None if usage.fit == own.fit else usage.fit,
    )
    stated = usage.to_metadata()
    kept = tuple((name, raw) for name, raw in graph.metadata if name != USAGE_METADATA)
    if not stated:
        return replace(graph, metadata=kept)
    raw = json.dumps(stated, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    return replace(graph, metadata=(*kept, (USAGE_METADATA, raw)))


def package_metadata(graph: Graph, usage: Usage) -> dict[str, Any]:
    """The entries of a package's metadata that say so."""
    return usage.to_metadata(graph.tensors[graph.inputs[0]].shape if graph.inputs else None)


def metadata_of_tflite(
    tflite: bytes,
    *,
    preprocess: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    task: str | None = None,
    fit: str | None = None,
) -> dict[str, Any]:
    """The same for the bytes of any ``.tflite``, also one whose operators are not read here; it says less then."""
    graph = readable_part(tflite)
    usage = usage_of(graph, preprocess=preprocess, labels=labels, task=task, fit=fit)
    return package_metadata(graph, usage)


def readable_part(tflite: bytes) -> Graph:
    """The first subgraph of any ``.tflite``, to be looked at; of a broken one only its metadata and attached files."""
    try:
        return read_subgraphs(tflite)[0]
    except ModelError:
        entries = ((name, metadata_entry(tflite, name)) for name in (TFLITE_METADATA, USAGE_METADATA))
        metadata = tuple((name, raw) for name, raw in entries if raw is not None)
        return Graph((), (), (), (), metadata=metadata, attached=read_attached(tflite))
