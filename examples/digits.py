"""A network of one's own to begin with: pictures of handwritten digits, and a Keras model that was trained on them.

    python examples/digits.py

writes ``digits/train`` and ``digits/test`` (a folder of pictures per class) and ``digits.keras``, in about 20
seconds. The digits come with scikit-learn (UCI, Optical Recognition of Handwritten Digits); nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SIZE = 32  # pixels


def write_pictures(folder: Path) -> None:
    """1,440 pictures to train on and 357 to test on, in a folder per class."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target)):
        part = folder / ("test" if number % 5 == 0 else "train") / str(label)
        part.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((pixels * 255 / 16).astype(np.uint8)).resize((SIZE, SIZE), Image.BILINEAR)
        picture.save(part / f"{number:04}.png")


def network() -> keras.Model:
    """A small MobileNet. It takes pixels as they are: what it does to them is its first layer."""
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Rescaling(1 / 127.5, offset=-1)])
    for channels, stride in ((16, 2), (32, 1), (64, 2), (64, 1), (128, 2)):
        model.add(keras.layers.SeparableConv2D(channels, 3, stride, "same", use_bias=False))
        model.add(keras.layers.BatchNormalization(momentum=0.9))  # its means keep up with a short training
        model.add(keras.layers.ReLU(6))
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(10, "softmax"))
    return model


def main() -> None:
    keras.utils.set_random_seed(0)
    folder = Path("digits")
    write_pictures(folder)
    train, test = (
        keras.utils.image_dataset_from_directory(folder / part, image_size=(SIZE, SIZE), seed=0)
        for part in ("train", "test")
    )
    model = network()
    model.compile(keras.optimizers.Adam(0.002), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train.cache(), validation_data=test.cache(), epochs=6, verbose=2)
    model.save("digits.keras")
    print("digits.keras and digits/ are written")


if __name__ == "__main__":
    main()
