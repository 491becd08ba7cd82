"""The networks of ncnn's benchmark in ncnn's text format: the layers as the papers have them, without weights."""

from __future__ import annotations

from collections.abc import Callable

#: Name -> the network's text and the side of its input in pixels.
Network = tuple[str, int]


class Layers:
    """A network's layers in ncnn's format. A blob that is read twice goes through a Split, as ncnn wants it."""

    def __init__(self, side: int, int8: bool = False) -> None:
        self.lines: list[tuple[str, list[str], list[str], str]] = []
        self.int8 = int8
        self.add("Input", [], ["data"], f"0={side} 1={side} 2=3")

    def add(self, kind: str, inputs: list[str], outputs: list[str], options: str = "") -> str:
        """Adds a layer; gives its first output."""
        self.lines.append((kind, inputs, outputs, options))
        return outputs[0]

    def blob(self) -> str:
        """A new name."""
        return f"b{len(self.lines)}"

    def conv(
        self,
        x: str,
        channels_in: int,
        channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        relu: bool = True,
        to_int8: bool = False,
    ) -> str:
        """A convolution with its activation. ``to_int8``: of an int8 network, whose output stays int8."""
        size = channels_in // groups * channels * kernel * kernel
        options = f"0={channels} 1={kernel} 3={stride} 4={pad} 5=1 6={size} 9={int(relu)}"
        kind = "Convolution"
        if groups > 1:
            kind, options = "ConvolutionDepthWise", f"{options} 7={groups}"
        if self.int8:
            options += f" 8={(1 if groups > 1 else 2) + 100 * to_int8}"
        return self.add(kind, [x], [self.blob()], options)

    def pool(self, x: str, kernel: int = 3, stride: int = 2, *, average: bool = False) -> str:
        """Pooling without padding."""
        return self.add("Pooling", [x], [self.blob()], f"0={int(average)} 1={kernel} 2={stride}")

    def dense(self, x: str, inputs: int, outputs: int, *, relu: bool = False) -> str:
        """A fully connected layer."""
        int8 = " 8=2" if self.int8 else ""
        options = f"0={outputs} 1=1 2={inputs * outputs} 9={int(relu)}{int8}"
        return self.add("InnerProduct", [x], [self.blob()], options)

    def end(self, x: str, *, pooled: bool = True) -> str:
        """Global average, where the network has not pooled yet, softmax; gives the text."""
        x = x if pooled else self.add("Pooling", [x], [self.blob()], "0=1 4=1")
        self.add("Softmax", [x], ["output"])
        return self.text()

    def text(self) -> str:
        """The network in ncnn's format."""
        readers: dict[str, int] = {}
        for _, inputs, _, _ in self.lines:
            for name in inputs:
                readers[name] = readers.get(name, 0) + 1
        written, taken, blobs = [], dict.fromkeys(readers, 0), 0
        for number, (kind, inputs, outputs, options) in enumerate(self.lines):
            names = []
            for name in inputs:
                names.append(f"{name}_{taken[name]}" if readers[name] > 1 else name)
                taken[name] += 1
            written.append(
                " ".join([kind, f"l{number}", str(len(names)), str(len(outputs)), *names, *outputs, options])
            )
            blobs += len(outputs)
            for name in outputs:
                if readers.get(name, 0) > 1:
                    copies = [f"{name}_{i}" for i in range(readers[name])]
                    written.append(
                        " ".join(["Split", f"s{number}_{name}", "1", str(len(copies)), name, *copies])
                    )
                    blobs += len(copies)
        return "\n".join(["7767517", f"{len(written)} {blobs}", *written]) + "\n"


def mobilenet(int8: bool = False) -> Network:
    """MobileNet V1, 224 x 224: 569 M multiply-accumulates. ncnn's int8 one hands int8 from layer to layer."""
    net = Layers(224, int8)
    x, channels = net.conv("data", 3, 32, 3, stride=2, pad=1, to_int8=True), 32
    plan = (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    )
    for place, (outputs, stride) in enumerate(plan, 1):
        x = net.conv(x, channels, channels, 3, stride=stride, pad=1, groups=channels, to_int8=True)
        x, channels = net.conv(x, channels, outputs, to_int8=place < len(plan)), outputs
    x = net.add("Pooling", [x], [net.blob()], "0=1 4=1")
    return net.end(net.dense(x, 1024, 1000)), 224


def mobilenet_v2() -> Network:
    """MobileNet V2, 224 x 224, with the strides of ncnn's own."""
    net = Layers(224)
    x, channels = net.conv("data", 3, 32, 3, stride=2, pad=1), 32
    plan = (
        (32, 16, 1),
        (96, 24, 2),
        (144, 24, 1),
        (144, 32, 2),
        *[(192, 32, 1)] * 2,
        (192, 64, 2),
        *[(384, 64, 1)] * 3,
    )
    plan = (*plan, (384, 96, 1), *[(576, 96, 1)] * 2, (576, 160, 2), *[(960, 160, 1)] * 2, (960, 320, 1))
    for wide, outputs, stride in plan:
        y = net.conv(x, channels, wide)
        y = net.conv(y, wide, wide, 3, stride=stride, pad=1, groups=wide)
        y = net.conv(y, wide, outputs, relu=False)
        same = stride == 1 and channels == outputs
        x, channels = net.add("Eltwise", [x, y], [net.blob()], "0=1") if same else y, outputs
    x = net.add("Pooling", [net.conv(x, 320, 1280)], [net.blob()], "0=1 4=1")
    return net.end(net.dense(x, 1280, 1000)), 224


def shufflenet() -> Network:
    """ShuffleNet V1, three groups."""
    net = Layers(224)
    x = net.pool(net.conv("data", 3, 24, 3, stride=2, pad=1))
    channels = 24
    for outputs, repeats in ((240, 4), (480, 8), (960, 4)):
        for place in range(repeats):
            first = place == 0
            middle = 54 if channels == 24 else outputs // 4 if not first else channels // 4
            y = net.conv(x, channels, middle, groups=1 if channels == 24 else 3)
            if channels != 24:
                y = net.add("ShuffleChannel", [y], [net.blob()], "0=3")
            y = net.conv(y, middle, middle, 3, stride=2 if first else 1, pad=1, groups=middle, relu=False)
            y = net.conv(y, middle, outputs - channels if first else outputs, groups=3, relu=False)
            if first:
                x = net.add("Concat", [net.pool(x, average=True), y], [net.blob()])
            else:
                x = net.add("Eltwise", [x, y], [net.blob()], "0=1")
            x, channels = net.add("ReLU", [x], [net.blob()]), outputs
    x = net.add("Pooling", [x], [net.blob()], "0=1 4=1")
    return net.end(net.dense(x, 960, 1000)), 224


def shufflenet_v2() -> Network:
    """ShuffleNet V2, 1.0."""
    net = Layers(224)
    x, channels = net.pool(net.conv("data", 3, 24, 3, stride=2, pad=1)), 24
    for outputs, repeats in ((116, 4), (232, 8), (464, 4)):
        half = outputs // 2
        for place in range(repeats):
            if place == 0:
                a = net.conv(x, channels, channels, 3, stride=2, pad=1, groups=channels, relu=False)
                a = net.conv(a, channels, half)
                b, inputs, stride = x, channels, 2
            else:
                b = net.blob()
                a = net.add("Slice", [x], [f"{b}a", f"{b}b"], f"-23300=2,{half},-233")
                b, inputs, stride = f"{b}b", half, 1
            b = net.conv(b, inputs, half)
            b = net.conv(b, half, half, 3, stride=stride, pad=1, groups=half, relu=False)
            b = net.conv(b, half, half)
            x = net.add("Concat", [a, b], [net.blob()])
            x = net.add("ShuffleChannel", [x], [net.blob()], "0=2")
        channels = outputs
    x = net.add("Pooling", [net.conv(x, 464, 1024)], [net.blob()], "0=1 4=1")
    return net.end(net.dense(x, 1024, 1000)), 224


def squeezenet(int8: bool = False) -> Network:
    """SqueezeNet 1.1, 227 x 227. In ncnn's int8 one the squeezed layers alone hand on int8."""
    net = Layers(227, int8)
    x, channels = net.pool(net.conv("data", 3, 64, 3, stride=2)), 64
    for place, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        s = net.conv(x, channels, squeezed, to_int8=True)
        a, b = net.conv(s, squeezed, 4 * squeezed), net.conv(s, squeezed, 4 * squeezed, 3, pad=1)
        x, channels = net.add("Concat", [a, b], [net.blob()]), 8 * squeezed
        x = net.pool(x) if place in (1, 3) else x
    return net.end(net.conv(x, channels, 1000, pad=1), pooled=False), 227


def alexnet() -> Network:
    """AlexNet, 227 x 227, with groups: 61 M weights, most of them in the fully connected layers."""
    net = Layers(227)
    x = net.conv("data", 3, 96, 11, stride=4)
    x = net.pool(net.add("LRN", [x], [net.blob()], "2=1.000000e-04"))
    x = net.conv(x, 96, 256, 5, pad=2, groups=2)
    x = net.pool(net.add("LRN", [x], [net.blob()], "2=1.000000e-04"))
    x = net.conv(x, 256, 384, 3, pad=1)
    x = net.conv(x, 384, 384, 3, pad=1, groups=2)
    x = net.pool(net.conv(x, 384, 256, 3, pad=1, groups=2))
    x = net.dense(net.dense(x, 9216, 4096, relu=True), 4096, 4096, relu=True)
    return net.end(net.dense(x, 4096, 1000)), 227


NETWORKS: dict[str, Callable[[], Network]] = {
    "mobilenet": mobilenet,
    "mobilenet_v2": mobilenet_v2,
    "shufflenet": shufflenet,
    "shufflenet_v2": shufflenet_v2,
    "squeezenet": squeezenet,
    "alexnet": alexnet,
    "mobilenet_int8": lambda: mobilenet(True),
    "squeezenet_int8": lambda: squeezenet(True),
}
#: Millions of multiply-accumulates, for the simpler predictors.
MILLION_MACS = {
    "mobilenet": 569,
    "mobilenet_v2": 314,
    "shufflenet": 127,
    "shufflenet_v2": 145,
    "squeezenet": 419,
    "alexnet": 724,
    "mobilenet_int8": 569,
    "squeezenet_int8": 419,
}
