"""The cases of compression that have a figure in docs/compression.md: one table of what is compressed, and how.

Their records are in ``benchmarks/results/compression``, each under its case's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from benchmarks.compression import blocks, cifar, data_free, imagenet, lenet, promised_loss, tiny


@dataclass(frozen=True)
class Case:
    """``kind`` is the module that compresses and measures it, ``settings`` are what stands there instead of the
    defaults of its options."""

    kind: ModuleType
    question: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def _lenet(question: str, network: str, **settings: Any) -> Case:
    return Case(lenet, question, {"network": network, **settings})


def _cifar(question: str, network: str, **settings: Any) -> Case:
    return Case(cifar, question, {"network": network, "clusters": 8, "price": 3e-8} | settings)


def _data_free(model: str, preprocess: str, sparsity: float, clusters: int, limit: int) -> Case:
    settings = {"preprocess": preprocess, "sparsity": sparsity, "clusters": clusters, "limit": limit}
    return Case(
        data_free, f"{model} without images: what is equalising worth, what are corrected biases?", settings
    )


def _tiny(what: str, quality: str, **settings: Any) -> Case:
    return Case(
        tiny, f"MLPerf Tiny's {what}: how like before does it answer?", {"quality": quality, **settings}
    )


CASES: Mapping[str, Case] = {
    "lenet_300_100": _lenet(
        "LeNet-300-100 on MNIST, 96.6 % zero",
        "lenet_300_100",
        sparsity=0.966,
        clusters=12,
        float_epochs=30,
        epochs=30,
    ),
    "lenet_300_100_small": _lenet(
        "LeNet-300-100 on MNIST, 97.6 % zero",
        "lenet_300_100",
        sparsity=0.976,
        clusters=12,
        float_epochs=30,
        epochs=30,
    ),
    "lenet_5": _lenet(
        "LeNet-5 on MNIST, 98.8 % zero",
        "lenet_5",
        sparsity=0.988,
        clusters=16,
        price=5e-6,
        shift=1,
        float_epochs=12,
        epochs=28,
    ),
    "mobilenet_v1": Case(
        imagenet,
        "MobileNet V1 1.0, calibrated on 1,000 photos",
        {"preprocess": "tf", "target_size": 2_250_000},
    ),
    "mobilenet_v2": Case(
        imagenet,
        "MobileNet V2 1.0, calibrated on 1,000 photos",
        {"preprocess": "torch", "target_size": 1_895_000},
    ),
    "cifar_blocks_resnet_8": Case(
        blocks,
        "ResNet-8 on CIFAR-10 in single weights, pairs or fours: what is lost at equal work?",
        {"network": "resnet_8"},
    ),
    "mobilenet_v1_int8": Case(
        imagenet,
        "MobileNet V1 1.0 in int8 with solved weights",
        {"preprocess": "tf", "int8": True, "price": 2.3e-9},
    ),
    "mobilenet_v2_int8": Case(
        imagenet,
        "MobileNet V2 1.0 in int8 with solved weights",
        {"preprocess": "torch", "int8": True, "price": 1.75e-9},
    ),
    "cifar_mobilenet_v1": _cifar("MobileNet V1 0.5 on CIFAR-10", "mobilenet_v1", epochs=12, sparsity=0.92),
    "cifar_shufflenet_v1": _cifar("ShuffleNet V1 1x on CIFAR-10", "shufflenet_v1", epochs=16, sparsity=0.9),
    "cifar_mobilenet_v1_half": _cifar(
        "MobileNet V1 0.5 on CIFAR-10 with half the MACs",
        "mobilenet_v1",
        epochs=12,
        sparsity=0.8,
        channels=0.5,
    ),
    "cifar_shufflenet_v1_half": _cifar(
        "ShuffleNet V1 1x on CIFAR-10 with half the MACs",
        "shufflenet_v1",
        epochs=8,
        sparsity=0.5,
        clusters=64,
        price=0.0,
        channels=0.5,
    ),
    "cifar_mobilenet_v1_16": _cifar(
        "MobileNet V1 0.5 with a stride less on CIFAR-10", "mobilenet_v1_16", epochs=12, sparsity=0.92
    ),
    "cifar_resnet_8": _cifar(
        "MLPerf Tiny's ResNet-8 on all of CIFAR-10, calibrated, then trained",
        "resnet_8",
        float_epochs=90,
        epochs=12,
        sparsity=0.48,
        clusters=0,
        price=0.0,
        begin=5.8e-7,
        bfloat16=True,
    ),
    "tiny_keywords": _tiny("keyword spotter", "90 % top-1"),
    "tiny_keywords_int8": _tiny("keyword spotter in int8", "90 % top-1"),
    "tiny_wake_words": _tiny("visual wake words", "80 % top-1"),
    "tiny_wake_words_calibrated": _tiny("visual wake words on photos", "80 % top-1", target_size=54_000),
    "tiny_anomaly": _tiny("anomaly detector in int8", "0.85 AUC"),
    "promised_loss": Case(promised_loss, "is a loss that was promised kept on images that nothing saw?"),
    "data_free_mobilenet_v1_0.25": _data_free("MobileNet V1 0.25", "tf", 0.3, 128, 500),
    "data_free_mobilenet_v1": _data_free("MobileNet V1 1.0", "tf", 0.5, 64, 250),
    "data_free_mobilenet_v2": _data_free("MobileNet V2 1.0", "torch", 0.5, 64, 250),
    "data_free_lenet_300_100": _data_free("LeNet-300-100", "01", 0.8, 8, 10_000),
    "data_free_lenet_5": _data_free("LeNet-5", "01", 0.8, 8, 10_000),
}
