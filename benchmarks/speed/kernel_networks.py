"""Untrained networks that the zoo does not have, for the benchmark of the kernels: ResNet-18 and an SSD detector."""

from __future__ import annotations

from typing import Any

#: Channels and stride of MobileNet V1's layers behind the first.
MOBILENET = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1)),
    *((512, 1), (1024, 2), (1024, 1)),
)
#: Of each further feature map of SSD: channels of the 1x1 convolution, and of the 3x3 convolution that halves it.
SSD_EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))
SSD_CLASSES = 91


def resnet18() -> Any:
    """ResNet-18 for 224x224 pixels as a Keras model; its batch normalisations are folded, so there are none."""
    from keras import Model, layers

    def convolve(x: Any, channels: int, kernel: int, stride: int, activation: str | None) -> Any:
        return layers.Conv2D(channels, kernel, stride, "same", activation=activation)(x)

    image = layers.Input((224, 224, 3), batch_size=1)
    x = layers.MaxPooling2D(3, 2, "same")(convolve(image, 64, 7, 2, "relu"))
    for channels in (64, 128, 256, 512):
        for number in range(2):
            stride = 2 if number == 0 and channels > 64 else 1
            shortcut = x if stride == 1 else convolve(x, channels, 1, stride, None)
            x = convolve(convolve(x, channels, 3, stride, "relu"), channels, 3, 1, None)
            x = layers.ReLU()(layers.Add()([shortcut, x]))
    return Model(image, layers.Dense(1000)(layers.GlobalAveragePooling2D()(x)))


def ssd_mobilenet() -> Any:
    """SSD with MobileNet V1 for 300x300 pixels as a Keras model: raw boxes and scores of 1,917 anchors."""
    from keras import Model, layers

    def relu6(x: Any) -> Any:
        return layers.ReLU(6.0)(x)

    image = layers.Input((300, 300, 3), batch_size=1)
    x = relu6(layers.Conv2D(32, 3, 2, "same")(image))
    maps = []
    for number, (channels, stride) in enumerate(MOBILENET):
        x = relu6(layers.DepthwiseConv2D(3, stride, "same")(x))
        x = relu6(layers.Conv2D(channels, 1)(x))
        if number in (10, 12):
            maps.append(x)
    for narrow, wide in SSD_EXTRAS:
        x = relu6(layers.Conv2D(wide, 3, 2, "same")(relu6(layers.Conv2D(narrow, 1)(x))))
        maps.append(x)
    boxes, scores = [], []
    for number, features in enumerate(maps):
        anchors = 3 if number == 0 else 6
        boxes.append(layers.Reshape((-1, 4))(layers.Conv2D(anchors * 4, 1)(features)))
        scores.append(layers.Reshape((-1, SSD_CLASSES))(layers.Conv2D(anchors * SSD_CLASSES, 1)(features)))
    both = [layers.Concatenate(axis=1)(parts) for parts in (boxes, scores)]
    return Model(image, both)
