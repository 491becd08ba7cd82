"""A model in memory, decoded and ready to run."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device_agent.errors import AgentError, DataError, PackageError, StoreError
from device_agent.record.release import Release
from device_agent.run.loaded import LoadedModel, names_a_file
from device_agent.store.store import Store


def deploy(store: Store, data: bytes, name: str = "net") -> Release:
    digest = store.blobs.put(data)
    release = Release(name=name, package_sha256=digest, parts=((digest, len(data)),))
    store.begin_trial(store.add_release(release))
    store.confirm(name)
    return release


@pytest.fixture
def store(home) -> Store:
    return Store(home / "store")


@pytest.fixture(scope="session")
def package(float_model) -> bytes:
    from sdk.package.pack import pack

    return pack(float_model, metadata={"name": "tiny"})


def test_a_tflite_file_is_loaded_and_predicts(float_model, expected, tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(float_model)
    x = np.random.default_rng(0).random((1, 2, 2, 3), np.float32)
    with LoadedModel.load(path) as agent:
        np.testing.assert_allclose(agent.predict(x), expected(x), rtol=1e-6)
        assert (agent.name, agent.package_sha256, agent.kernel, agent.decode_seconds) == (
            "tiny.tflite",
            None,
            "none",
            0.0,
        )


def test_a_package_is_decoded_to_the_model_that_was_packed(package, float_model, expected, tmp_path):
    path = tmp_path / "tiny.armlet"
    path.write_bytes(package)
    x = np.random.default_rng(0).random((1, 2, 2, 3), np.float32)
    agent = LoadedModel.load(path, kernel="numpy")
    np.testing.assert_array_equal(agent.predict(x), LoadedModel(float_model).predict(x))
    assert agent.kernel == "numpy"
    assert agent.decode_seconds > 0
    assert agent.metadata["name"] == "tiny"
    assert agent.tflite_sha256 == LoadedModel(float_model).tflite_sha256


def test_a_damaged_package_is_refused_by_name(package):
    for position in range(0, len(package), 37):
        damaged = bytearray(package)
        damaged[position] ^= 4
        with pytest.raises((PackageError, AgentError)):
            LoadedModel(bytes(damaged), kernel="numpy")


def test_what_was_deployed_is_loaded_by_its_name(store, float_model):
    deploy(store, float_model)
    agent = LoadedModel.load("net")
    assert agent.name == "net"
    assert agent.predict(np.zeros((1, 2, 2, 3))).shape == (1, 2, 2, 2)


def test_a_name_that_is_not_deployed_is_refused(store):
    with pytest.raises(StoreError, match="nothing is deployed under the name net"):
        LoadedModel.load("net")


@pytest.mark.parametrize("path", ["/nowhere/net.armlet", "./net.armlet", "a b"])
def test_a_file_that_is_not_there_is_refused(path):
    with pytest.raises(AgentError, match="cannot read"):
        LoadedModel.load(path)


def test_where_the_current_release_is_damaged_the_previous_one_runs_with_a_warning(
    store, float_model, other_model, expected
):
    deploy(store, float_model)
    new = deploy(store, other_model)
    x = np.ones((1, 2, 2, 3), np.float32)
    np.testing.assert_array_equal(LoadedModel.load("net").predict(x), expected(x, 2))
    blob = store.folder / "blobs" / new.parts[0][0]
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.warns(UserWarning, match="running the previous one"):
        agent = LoadedModel.load("net")
    np.testing.assert_array_equal(agent.predict(x), expected(x))


def test_one_input_may_come_without_its_batch(float_model, expected):
    x = np.random.default_rng(0).random((2, 2, 3), np.float32)
    np.testing.assert_allclose(LoadedModel(float_model).predict(x), expected(x), rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_a_batch_of_any_size_is_predicted_row_by_row(float_model, expected, count):
    x = np.random.default_rng(0).random((count, 2, 2, 3), np.float32)
    outputs = LoadedModel(float_model).predict(x)
    assert outputs.shape == (count, 2, 2, 2)
    np.testing.assert_allclose(outputs, expected(x), rtol=1e-6)


def test_an_integer_model_gives_real_values(int8_model, expected):
    x = np.arange(12, dtype=np.float64).reshape(1, 2, 2, 3)
    agent = LoadedModel(int8_model)
    outputs = agent.predict(x)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, expected(x), atol=1.0)
    assert agent.predict_raw(x).dtype == np.int8


def test_a_wrong_shape_says_what_was_expected(float_model):
    with pytest.raises(AgentError, match="expected 1x2x2x3"):
        LoadedModel(float_model).predict(np.zeros((5, 5)))


def test_a_closed_agent_says_so(float_model):
    with LoadedModel(float_model) as agent:
        pass
    with pytest.raises(AgentError, match="closed"):
        agent.predict(np.zeros((1, 2, 2, 3)))


def test_importing_the_package_does_not_import_numpy():
    code = "import sys, device_agent as d; assert 'numpy' not in sys.modules; d.Agent; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_package_in_parts_is_joined(store, float_model):
    parts = [float_model[:100], float_model[100:]]
    blobs = [(hashlib.sha256(part).hexdigest(), len(part)) for part in parts]
    store.blobs.receive(io.BytesIO(float_model), [(*blob, 0) for blob in blobs])
    whole = hashlib.sha256(float_model).hexdigest()
    store.begin_trial(store.add_release(Release("net", whole, tuple(blobs))))
    store.confirm("net")
    assert LoadedModel.load("net").tflite_sha256 == whole


def test_images_are_flipped_where_the_package_says_so(float_model):
    from sdk.package.pack import pack

    x = np.random.default_rng(0).random((3, 2, 2, 3), np.float32)
    plain = LoadedModel(float_model).predict(x)
    for flip, axes in ((["height", "width"], (1, 2)), (["width"], (2,)), ([], ())):
        agent = LoadedModel(pack(float_model, metadata={"input": {"flip": flip}}))
        # The model is one 1x1 convolution: a flipped image gives a flipped answer.
        np.testing.assert_array_equal(agent.predict(x), np.flip(plain, axes))
        np.testing.assert_array_equal(agent.predict(x[0]), np.flip(plain, axes)[0])


@pytest.mark.parametrize("flip", ["height", ["depth"], [["height"]], 1])
def test_a_flip_that_there_is_not_is_refused(float_model, flip):
    from sdk.package.pack import pack

    with pytest.raises(DataError, match="flip"):
        LoadedModel(pack(float_model, metadata={"input": {"flip": flip}}))


def test_a_name_is_a_name_whatever_lies_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes").mkdir()
    (tmp_path / "net").write_bytes(b"no model")
    assert [names_a_file(text) for text in ("shapes", "net", "net.v2")] == [False, False, False]
    paths = ("./net", "net.tflite", "net.ARMLET", "a b", "", "-net", Path("net"))
    assert all(names_a_file(path) for path in paths)
    monkeypatch.setenv("ARMLET_HOME", str(tmp_path / "home"))
    with pytest.raises(StoreError, match=r"nothing is deployed under the name net.*\./net"):
        LoadedModel.load("net")
