"""What the zoo holds: one :class:`ZooEntry` a network, with its paper and its options. Free of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sdk.errors import ModelError
from sdk.models.networks.alexnet import alexnet
from sdk.models.networks.googlenet import googlenet
from sdk.models.networks.lenet import lenet_5, lenet_300_100
from sdk.models.networks.mobilenet_v1 import REDUCTIONS, mobilenet_v1
from sdk.models.networks.mobilenet_v2 import mobilenet_v2
from sdk.models.networks.network import PADDINGS, Network
from sdk.models.networks.resnet_8 import resnet_8
from sdk.models.networks.shufflenet_v1 import STAGE_CHANNELS as SHUFFLENET_V1_GROUPS
from sdk.models.networks.shufflenet_v1 import STEMS, shufflenet_v1
from sdk.models.networks.shufflenet_v2 import STAGE_CHANNELS as SHUFFLENET_V2_SCALES
from sdk.models.networks.shufflenet_v2 import shufflenet_v2
from sdk.models.networks.squeezenet import VERSIONS as SQUEEZENET_VERSIONS
from sdk.models.networks.squeezenet import squeezenet
from sdk.models.networks.vgg16 import vgg16


@dataclass(frozen=True)
class ZooOption:
    """One option of a network. Without ``choices`` any positive number is allowed."""

    name: str
    default: float | int | str
    help: str
    choices: tuple[float | int | str, ...] = ()

    def parse(self, value: Any) -> Any:
        """``value`` (text from a command line, or a number) as this option's type.

        Raises:
            ModelError: it is of another type, or none of the choices.
        """
        parsed: Any
        try:
            parsed = type(self.default)(value)
        except (TypeError, ValueError):
            parsed = None
        allowed = parsed in self.choices if self.choices else parsed is not None and 0 < parsed < float("inf")
        if not allowed:
            raise ModelError(
                f"Bad value of option {self.name}",
                expected=", ".join(map(str, self.choices)) if self.choices else "a positive number",
                found=repr(value),
            )
        return parsed


@dataclass(frozen=True)
class ZooEntry:
    """One network of the zoo. The defaults are the paper's: ImageNet for most, MNIST for the LeNets."""

    name: str
    title: str
    paper: str
    network: Callable[..., Network]
    options: tuple[ZooOption, ...] = ()
    default_size: int = 224
    default_channels: int = 3
    default_classes: int = 1000

    def resolve(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Every option of the network: ``options`` where given, parsed and checked, and the defaults.

        Raises:
            ModelError: an option that this network does not have, or a value that it does not allow.
        """
        known = {option.name: option for option in self.options}
        for name in options:
            if name not in known:
                raise ModelError(
                    f"{self.name} has no option {name}", expected=", ".join(known) or "no options", found=name
                )
        return {name: option.parse(options.get(name, option.default)) for name, option in known.items()}


_WIDTH = ZooOption("width", 1.0, "multiplier of every layer's channels")
_PADDING = ZooOption(
    "padding",
    "same",
    "how stride-2 layers pad: 'same' as TensorFlow does, or 'symmetric', which sparse kernels need",
    PADDINGS,
)
_STEM = ZooOption(
    "stem",
    "max_pool",
    "after the first convolution: the paper's max pool, or a stride-2 depthwise layer",
    STEMS,
)
_REDUCTION = ZooOption(
    "reduction",
    REDUCTIONS[0],
    "pixels of the image to one of the last layers; with fewer the first blocks have stride 1, for small images",
    REDUCTIONS,
)

ENTRIES = (
    ZooEntry(
        "mobilenet_v1", "MobileNet V1", "arXiv 1704.04861", mobilenet_v1, (_WIDTH, _PADDING, _REDUCTION)
    ),
    ZooEntry("mobilenet_v2", "MobileNet V2", "arXiv 1801.04381", mobilenet_v2, (_WIDTH, _PADDING)),
    ZooEntry(
        "shufflenet_v1",
        "ShuffleNet V1",
        "arXiv 1707.01083",
        shufflenet_v1,
        (
            ZooOption("scale", 1.0, "multiplier of every layer's channels"),
            ZooOption("groups", 3, "groups of the 1x1 convolutions", tuple(SHUFFLENET_V1_GROUPS)),
            _PADDING,
            _STEM,
        ),
    ),
    ZooEntry(
        "shufflenet_v2",
        "ShuffleNet V2",
        "arXiv 1807.11164",
        shufflenet_v2,
        (ZooOption("scale", 1.0, "one of the paper's sizes", tuple(SHUFFLENET_V2_SCALES)), _PADDING, _STEM),
    ),
    ZooEntry("alexnet", "AlexNet", "NIPS 2012", alexnet),
    ZooEntry("vgg16", "VGG-16", "arXiv 1409.1556", vgg16),
    ZooEntry("googlenet", "GoogLeNet", "arXiv 1409.4842", googlenet),
    ZooEntry(
        "squeezenet",
        "SqueezeNet",
        "arXiv 1602.07360",
        squeezenet,
        (
            ZooOption(
                "version", "1.0", "the paper's 1.0 or the authors' later 1.1", tuple(SQUEEZENET_VERSIONS)
            ),
        ),
        default_size=227,
    ),
    ZooEntry(
        "lenet_300_100",
        "LeNet-300-100",
        "arXiv 1510.00149",
        lenet_300_100,
        default_size=28,
        default_channels=1,
        default_classes=10,
    ),
    ZooEntry(
        "lenet_5",
        "LeNet-5 (Caffe)",
        "arXiv 1510.00149",
        lenet_5,
        default_size=28,
        default_channels=1,
        default_classes=10,
    ),
    ZooEntry(
        "resnet_8",
        "ResNet-8 (MLPerf Tiny)",
        "arXiv 2106.07597",
        resnet_8,
        (_WIDTH,),
        default_size=32,
        default_classes=10,
    ),
)


def entry(name: str) -> ZooEntry:
    """The entry of that name.

    Raises:
        ModelError: the zoo has no such network.
    """
    for candidate in ENTRIES:
        if candidate.name == name:
            return candidate
    raise ModelError(
        f"The zoo has no network {name}",
        expected=", ".join(candidate.name for candidate in ENTRIES),
        found=name,
    )
