"""Images come in the same way every time, and what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device_agent.record.preprocess import PREPROCESS, Preprocess
from sdk.errors import DataError
from sdk.graph.on_host.data import has_splits, load_dataset


def write_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def plain(value: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    for name, value in (("cat", 10), ("dog", 20), ("emu", 30)):
        for number in range(4):
            write_image(tmp_path / name / f"{number}.png", plain(value + number))
    return tmp_path


def test_subfolders_are_classes_in_sorted_order(class_folders: Path) -> None:
    data = load_dataset(class_folders, input_shape=(8, 8, 3), preprocess="raw")
    assert data.labels is not None
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.images()[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33]


def test_numeric_subfolders_are_the_class_itself(tmp_path: Path) -> None:
    for name in ("7", "0012", "3"):
        write_image(tmp_path / name / "a.png", plain(int(name)))
    data = load_dataset(tmp_path, input_shape=(8, 8, 3), preprocess="raw")
    assert data.labels is not None
    assert data.labels.tolist() == [3, 7, 12]
    assert data.images()[:, 0, 0, 0].tolist() == [3, 7, 12]


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", plain(1))
    (tmp_path / "notes.txt").write_text("not an image")
    data = load_dataset(tmp_path, input_shape=(8, 8, 3), preprocess="raw")
    assert len(data) == 1
    assert data.labels is None
    assert next(data.batches(4))[1] is None


def test_batches_join_to_the_whole_set(class_folders: Path) -> None:
    data = load_dataset(class_folders, input_shape=(8, 8, 3), preprocess="tf")
    batches = list(data.batches(5))
    assert [len(images) for images, _ in batches] == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), data.images())
    labels = [batch for _, batch in batches if batch is not None]
    assert data.labels is not None
    np.testing.assert_array_equal(np.concatenate(labels), data.labels)
    assert batches[0][0].dtype == np.float32


def test_a_limit_takes_evenly_from_every_class(class_folders: Path) -> None:
    data = load_dataset(class_folders, input_shape=(8, 8, 3), preprocess="raw", limit=6)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.images()[:, 0, 0, 0].tolist() == [10, 12, 20, 22, 30, 32]


def test_named_preprocessing_is_what_its_networks_were_trained_with() -> None:
    pixels = np.array([[[0, 127.5, 255]]])
    np.testing.assert_allclose(PREPROCESS["tf"](pixels), [[[-1, 0, 1]]])
    np.testing.assert_allclose(PREPROCESS["01"](pixels), [[[0, 0.5, 1]]])
    np.testing.assert_allclose(PREPROCESS["raw"](pixels), pixels)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (pixels / 255 - mean) / deviation
    np.testing.assert_allclose(PREPROCESS["torch"](pixels), expected, rtol=1e-5)


def test_preprocessing_can_be_given_as_mean_and_scale() -> None:
    custom = Preprocess.parse("mean=10,20,30:scale=2")
    assert Preprocess.parse("mean=10,20,30, scale=2") == custom
    np.testing.assert_allclose(custom(np.array([[[12, 20, 40]]])), [[[1, 0, 5]]])


@pytest.mark.parametrize(
    "text", ["", "imagenet", "mean=1", "mean=a:scale=1", "mean=0:scale=0", "mean=nan:scale=1"]
)
def test_unknown_preprocessing_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="unknown preprocessing"):
        Preprocess.parse(text)


def test_preprocessing_for_three_channels_refuses_one(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", plain(1))
    data = load_dataset(tmp_path, input_shape=(8, 8, 1), preprocess="torch")
    with pytest.raises(DataError, match="3 channels"):
        data.images()


def test_an_image_is_resized_by_its_shorter_side_and_cropped_in_the_centre(tmp_path: Path) -> None:
    stripes = np.zeros((10, 40, 3), np.uint8)
    stripes[:, 15:25] = 200  # the central square
    write_image(tmp_path / "wide.png", stripes)
    data = load_dataset(tmp_path, input_shape=(10, 10, 3), preprocess="raw")
    np.testing.assert_array_equal(data.images(), np.full((1, 10, 10, 3), 200.0))
    halved = load_dataset(tmp_path, input_shape=(4, 4, 3), preprocess="raw").images()[0]
    np.testing.assert_array_equal(halved[:, 1:3], np.full((4, 2, 3), 200.0))


def test_images_become_grey_for_a_network_of_one_channel(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.full((4, 4, 3), (255, 0, 0), np.uint8))
    data = load_dataset(tmp_path, input_shape=(4, 4, 1), preprocess="raw")
    assert data.images().shape == (1, 4, 4, 1)
    assert data.images().max() == 76  # the luma of red, ITU-R 601


def test_an_npz_is_read_by_split(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    train, test = np.zeros((3, 5, 5), np.uint8), np.ones((2, 5, 5), np.uint8)
    np.savez(path, x_train=train, y_train=[0, 1, 2], x_test=test, y_test=[[1], [0]])
    assert has_splits(path)
    assert len(load_dataset(path, input_shape=(5, 5, 1), preprocess="raw")) == 3
    data = load_dataset(path, input_shape=(5, 5, 1), preprocess="raw", split="test")
    assert data.images().shape == (2, 5, 5, 1)
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0]


def test_folders_are_read_by_split(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "0" / "a.png", plain(1))
    write_image(tmp_path / "val" / "0" / "a.png", plain(2))
    assert has_splits(tmp_path)
    for split, value in ((None, 1), ("train", 1), ("test", 2)):
        data = load_dataset(tmp_path, input_shape=(8, 8, 3), preprocess="raw", split=split)
        assert data.images().max() == value


def test_float_arrays_of_any_shape_feed_a_network_of_that_shape(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.arange(12, dtype=np.float64).reshape(2, 6))
    data = load_dataset(path, input_shape=(6,), preprocess="raw")
    assert not has_splits(path)
    np.testing.assert_array_equal(data.images([1]), [[6, 7, 8, 9, 10, 11]])


def test_byte_images_of_an_npz_are_resized(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, images=np.full((1, 16, 16), 9, np.uint8), labels=[4])
    data = load_dataset(path, input_shape=(8, 8, 3), preprocess="raw")
    np.testing.assert_array_equal(data.images(), np.full((1, 8, 8, 3), 9.0))


def test_the_digest_depends_on_samples_labels_and_preprocessing(class_folders: Path) -> None:
    def digest(preprocess: str = "raw", limit: int = 12) -> str:
        return load_dataset(class_folders, input_shape=(8, 8, 3), preprocess=preprocess, limit=limit).digest()

    assert digest() == digest()
    assert len({digest(), digest("tf"), digest(limit=6)}) == 3
    before = digest()
    write_image(class_folders / "cat" / "0.png", plain(99))
    assert digest() != before


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros(3)}, "has no images"),
        ({"x": np.zeros((2, 4, 4, 1)), "y": np.zeros(3)}, "another number of labels"),
        ({"x": np.zeros((2, 5, 5, 1))}, "does not fit the network"),
        ({"x": np.zeros((2, 5, 5, 2), np.uint8)}, "does not fit the network"),
        ({"x": np.zeros((0, 4, 4, 1))}, "holds no images"),
        ({"x": np.array(["a", "b"])}, "holds no images"),
        ({"x": np.array([{}, {}], object)}, "cannot be read"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        load_dataset(path, input_shape=(4, 4, 1))


def test_what_is_not_data_is_named(tmp_path: Path) -> None:
    shape = (8, 8, 3)
    with pytest.raises(DataError, match="no such file"):
        load_dataset(tmp_path / "nowhere", input_shape=shape)
    with pytest.raises(DataError, match="there are no images"):
        load_dataset(tmp_path, input_shape=shape)
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        load_dataset(tmp_path / "d.npz", input_shape=shape)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(DataError, match="another kind of file"):
        load_dataset(tmp_path / "a.csv", input_shape=shape)
    write_image(tmp_path / "a.png", plain(1))
    with pytest.raises(DataError, match="no split"):
        load_dataset(tmp_path, input_shape=shape, split="test")
    with pytest.raises(DataError, match="cannot feed this network"):
        load_dataset(tmp_path, input_shape=(784,))
    with pytest.raises(DataError, match="limit"):
        load_dataset(tmp_path, input_shape=shape, limit=0)
    write_image(tmp_path / "cat" / "a.png", plain(1))
    with pytest.raises(DataError, match="both images and folders"):
        load_dataset(tmp_path, input_shape=shape)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photograph")
    data = load_dataset(tmp_path, input_shape=(8, 8, 3))
    with pytest.raises(DataError, match=r"broken\.jpg"):
        data.images()
