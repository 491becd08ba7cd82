"""Images come in the same way every time, and what cannot be read is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from device_agent.record.preprocess import PREPROCESS, Preprocess
from sdk.data.loading import has_splits, load_dataset
from sdk.errors import DataError


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
        load_dataset(path, input_shape=(4, 4, 1), preprocess="raw")


def test_what_is_not_data_is_named(tmp_path: Path) -> None:
    def load(path: Path, shape: tuple[int, ...] = (8, 8, 3), **more: Any) -> None:
        load_dataset(path, input_shape=shape, preprocess="raw", **more)

    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="there are no images"):
        load(tmp_path)
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        load(tmp_path / "d.npz")
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"a file \.csv"):
        load(tmp_path / "a.csv")
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="Unpack it"):
        load(tmp_path / "a.zip")
    write_image(tmp_path / "a.png", plain(1))
    with pytest.raises(DataError, match="no split"):
        load(tmp_path, split="test")
    with pytest.raises(DataError, match="cannot feed this network"):
        load(tmp_path, (784,))
    with pytest.raises(DataError, match="limit"):
        load(tmp_path, limit=0)
    write_image(tmp_path / "cat" / "a.png", plain(1))
    with pytest.raises(DataError, match="both images and folders"):
        load(tmp_path)


def test_no_preprocessing_is_assumed(class_folders: Path) -> None:
    with pytest.raises(DataError, match="the preprocessing of the network is missing"):
        load_dataset(class_folders, input_shape=(8, 8, 3))


def test_broken_pictures_are_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photograph")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        load_dataset(tmp_path, input_shape=(8, 8, 3), preprocess="raw")
    write_image(tmp_path / "cut.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    write_image(tmp_path / "good.png", plain(1))
    data = load_dataset(tmp_path, input_shape=(8, 8, 3), preprocess="raw")
    assert len(data) == 1
    (note,) = data.notes
    assert "3 broken pictures" in note
    for part in ("broken.jpg", "cut.jpg", "truncated", "empty.png (an empty file)"):
        assert part in note


def test_what_systems_leave_behind_is_no_class_and_is_named(class_folders: Path) -> None:
    (class_folders / "__MACOSX" / "cat").mkdir(parents=True)
    (class_folders / "__MACOSX" / "cat" / "._0.png").write_bytes(b"\0\5")
    (class_folders / ".DS_Store").write_bytes(b"\0")
    (class_folders / "cat" / "Thumbs.db").write_bytes(b"\0")
    (class_folders / "dog" / "film.mp4").write_bytes(b"\0")
    (class_folders / "dog" / "phone.HEIC").write_bytes(b"\0")
    data = load_dataset(class_folders, input_shape=(8, 8, 3), preprocess="raw", scores=3)
    assert data.labels is not None
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    told = " ".join(data.notes)
    for part in ("__MACOSX", ".DS_Store", "Thumbs.db", "1 .mp4", "HEIC"):
        assert part in told


def test_every_format_and_suffix_is_used(tmp_path: Path) -> None:
    names = ("a.JPG", "b.jfif", "c.gif", "d.tif", "e.webp", "f.tga", "g.jp2", "h.ppm", "i.bmp", "j.pcx")
    formats = {".jfif": "JPEG", ".JPG": "JPEG"}
    for number, name in enumerate(names):
        image = Image.fromarray(plain(100 + number))
        image.save(tmp_path / name, formats.get(Path(name).suffix))
    (tmp_path / "d.tif").rename(tmp_path / "without_a_suffix")
    data = load_dataset(tmp_path, input_shape=(8, 8, 3), preprocess="raw")
    assert len(data) == len(names)
    assert data.notes == ()


def test_a_folder_that_an_archive_wrapped_is_looked_through(class_folders: Path, tmp_path: Path) -> None:
    inner = tmp_path / "download" / "pets" / "pets"
    inner.mkdir(parents=True)
    for folder in ("cat", "dog", "emu"):
        (class_folders / folder).rename(inner / folder)
    data = load_dataset(tmp_path / "download", input_shape=(8, 8, 3), preprocess="raw", scores=3)
    assert data.labels is not None
    assert len(data) == 12
    assert any("pets" in note for note in data.notes)


def test_a_table_beside_pictures_names_their_classes(tmp_path: Path) -> None:
    for number in range(4):
        write_image(tmp_path / f"{number}.png", plain(number))
    (tmp_path / "labels.csv").write_text("id,breed\n0,dog\n1,cat\n2,dog\n")
    data = load_dataset(tmp_path, input_shape=(8, 8, 3), preprocess="raw", labels=("dog", "cat"), scores=2)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 0]
    assert any("labels.csv does not name" in note for note in data.notes)


@pytest.mark.parametrize(
    ("arrays", "labels"),
    [
        ({"X": 1, "Y": np.array([0, 1, 2, 1])}, [0, 1, 2, 1]),
        ({"train_images": 1, "train_labels": np.array([[0], [1], [2], [1]])}, [0, 1, 2, 1]),
        ({"images": 1, "labels": np.eye(3)[[0, 1, 2, 1]]}, [0, 1, 2, 1]),
        ({"arr_0": 1, "arr_1": np.array([0.0, 1.0, 2.0, 1.0])}, [0, 1, 2, 1]),
        ({"x": 1, "y": np.array(["b", "a", "c", "b"])}, [1, 0, 2, 1]),
        ({"data": 1, "target": np.array([0, 1, 1, 1], np.uint8)}, [0, 1, 1, 1]),
    ],
)
def test_arrays_go_by_the_names_that_people_give_them(
    tmp_path: Path, arrays: dict[str, Any], labels: list[int]
) -> None:
    pixels = np.arange(4 * 64 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    np.savez(tmp_path / "d.npz", **{k: pixels if isinstance(v, int) else v for k, v in arrays.items()})
    data = load_dataset(tmp_path / "d.npz", input_shape=(8, 8, 3), preprocess="raw", scores=3)
    assert data.labels is not None
    assert data.labels.tolist() == labels
    np.testing.assert_array_equal(data.images(), pixels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1, 2, 3, 3]), "seem to count from 1"),
        (np.array([0, 1, np.nan, 2]), "1 of 4 that are not, such as nan at 2"),
        (np.array([0.5, 1, 1, 2]), "not class numbers"),
        (np.array([-1, 0, 1, 2]), "-1 to 2"),
        (np.array([[1, 1, 0]] * 4), "no class for each image"),
        (np.array(["cat", "dog", "cat", "dog"]), "3, one for each class"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 8, 8, 3), np.uint8), y=labels)
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path / "d.npz", input_shape=(8, 8, 3), preprocess="raw", scores=3)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (lambda p: p, ""),
        (lambda p: p.astype(np.int64), ""),
        (lambda p: p.astype(np.float32), ""),
        (lambda p: (p / 255).astype(np.float32), "pixels / 255"),
        (lambda p: p / 127.5 - 1, "pixels / 127.5 - 1"),
        (lambda p: (p / 255 - 0.5).astype(np.float32), "pixels / 255 - 0.5"),
        (lambda p: (p.astype(int) - 128).astype(np.int8), "minus 128"),
        (lambda p: p.astype(np.uint16) * 257, "16 bits"),
        (lambda p: PREPROCESS["torch"](p), "ImageNet's mean and deviation"),
        (lambda p: PREPROCESS["caffe"](p), "blue first"),
        (lambda p: np.moveaxis(p, -1, 1), "moved to the end"),
        (lambda p: np.concatenate([p, p[..., :1]], -1), "transparency"),
    ],
)
def test_stored_numbers_become_the_same_pixels(tmp_path: Path, stored: Any, told: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    pixels[0, 0, 0], pixels[0, 0, 1] = 0, 255
    np.savez(tmp_path / "d.npz", x=stored(pixels))
    data = load_dataset(tmp_path / "d.npz", input_shape=(8, 8, 3), preprocess="raw")
    assert data.are_pixels
    np.testing.assert_allclose(data.images(), pixels, atol=0.02)
    assert told in " ".join(data.notes)


def test_numbers_that_are_no_pixels_go_in_as_they_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (20, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=values)
    data = load_dataset(tmp_path / "d.npz", input_shape=(8, 8, 3), preprocess="tf")
    assert not data.are_pixels
    np.testing.assert_array_equal(data.images(), values)
    assert "as they are" in " ".join(data.notes)
    values[3, 0, 0, 0] = np.nan
    np.savez(tmp_path / "d.npz", x=values)
    with pytest.raises(DataError, match="NaN or inf in image 3"):
        load_dataset(tmp_path / "d.npz", input_shape=(8, 8, 3), preprocess="tf")


def test_an_input_of_whole_numbers_gets_pixels_as_they_are(class_folders: Path) -> None:
    data = replace(load_dataset(class_folders, input_shape=(8, 8, 3), preprocess="raw"), input_dtype="uint8")
    assert data.images().dtype == np.uint8
    assert data.images()[0, 0, 0, 0] == 10
    with pytest.raises(DataError, match="whole numbers"):
        replace(data, preprocess=PREPROCESS["tf"]).images()
