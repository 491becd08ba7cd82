"""What an application embeds: images in, named answers out, the confirmed release always, from any thread."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from PIL import Image

from device_agent import Agent
from device_agent.errors import AgentError, DataError, StoreError
from device_agent.record.preprocess import PREPROCESS
from device_agent.run.loaded import LoadedModel
from device_agent.store.store import Store
from sdk.data.loading import load_dataset
from sdk.graph.writer import write_graph
from tests.device_agent.store.deploying import LABELS, deploy, package, revert
from tests.device_agent.tiny_models import sum_and_difference, with_state


@pytest.fixture
def store(home) -> Store:
    return Store(home / "store")


def picture(seed: int = 0, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def raw(data: bytes, inputs: np.ndarray) -> np.ndarray:
    """What the model of a package gives for inputs that are normalised already."""
    return LoadedModel(data).predict(inputs)


# -- one image --------------------------------------------------------------------------------------------------------


def test_the_confirmed_release_answers_by_name(store):
    data = package()
    release = deploy(store, data)
    with Agent("net") as agent:
        answer = agent.predict(picture())
        scores = raw(data, PREPROCESS["tf"](picture()))
        assert answer.index == int(np.argmax(scores))
        assert answer.label == LABELS[answer.index]
        assert answer.score == pytest.approx(float(scores.max()))
        np.testing.assert_array_equal(answer.outputs[0], scores)
        assert [scored.index for scored in answer.top] == list(np.argsort(-scores, kind="stable")[:5])
        assert answer.release == agent.release == release.id
        assert agent.input_shape == (8, 8, 3)


def test_another_home_is_taken_from_the_argument(tmp_path, store):
    deploy(Store(tmp_path / "other" / "store"), package())
    assert Agent("net", home=tmp_path / "other").predict(picture()).label in LABELS
    with pytest.raises(StoreError, match="nothing is deployed under the name net"):
        Agent("net")


def test_a_package_file_answers_as_the_deployed_one_does(tmp_path, store):
    deploy(store, package())
    path = tmp_path / "net.armlet"
    path.write_bytes(package())
    by_path, by_name = Agent(path).predict(picture()), Agent("net").predict(picture())
    assert (by_path.label, by_path.score) == (by_name.label, by_name.score)
    assert by_path.release is None


@pytest.mark.parametrize("size", [(8, 8), (20, 31), (31, 20), (5, 40), (8, 9), (1, 1)])
@pytest.mark.parametrize("form", ["tf", "torch", "01", "mean=10,20,30:scale=2"])
def test_any_size_is_resized_cropped_and_normalised_as_the_host_does_it(tmp_path, size, form):
    path = tmp_path / "net.armlet"
    path.write_bytes(package(preprocess=form))
    image = picture(1, *size)
    Image.fromarray(image).save(tmp_path / "image.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "image.png").rename(tmp_path / "images" / "image.png")
    inputs = load_dataset(tmp_path / "images", input_shape=(8, 8, 3), preprocess=form).images()
    seen = []
    agent = Agent(path)
    agent.model.model.fill_input = lambda write: (  # type: ignore[method-assign]
        seen.append(np.empty((1, 8, 8, 3), np.float32)),
        write(seen[-1]),
    )
    agent.predict(image)
    level = 1.0 / min(map(abs, PREPROCESS[form].scale if form in PREPROCESS else (2.0,)))
    np.testing.assert_allclose(seen[0], inputs, atol=1.001 * level)
    if size == (8, 8):
        np.testing.assert_array_equal(seen[0], inputs)


def test_floats_hold_pixels_too_and_may_come_normalised(store):
    deploy(store, package())
    agent = Agent("net")
    exact = agent.predict(picture())
    assert agent.predict(picture().astype(np.float64)).outputs[0].tolist() == exact.outputs[0].tolist()
    normalised = PREPROCESS["tf"](picture())
    assert agent.predict(normalised, preprocessed=True).outputs[0].tolist() == exact.outputs[0].tolist()
    with pytest.raises(DataError, match=r"these are not pixels.*preprocessed=True"):
        agent.predict(normalised)
    with pytest.raises(DataError, match="found nan"):
        agent.predict(np.full((8, 8, 3), np.nan))
    with pytest.warns(UserWarning, match="no pixel above 1"):
        agent.predict(picture() / 255.0)


def test_grey_images_are_taken_for_three_equal_channels(store):
    deploy(store, package())
    agent = Agent("net")
    grey = picture()[..., 0]
    expected = agent.predict(np.repeat(grey[..., None], 3, axis=-1)).outputs[0]
    np.testing.assert_array_equal(agent.predict(grey).outputs[0], expected)
    np.testing.assert_array_equal(agent.predict(grey[..., None]).outputs[0], expected)


@pytest.mark.parametrize("axes", [["height"], ["width"], ["height", "width"]])
def test_a_mirrored_network_is_shown_a_mirrored_image(store, axes):
    data = package(flip=axes)
    deploy(store, data)
    image = picture(2, 16, 8)
    mirrored = np.flip(
        Agent("net").usage.preprocess(_fitted(image)), [("height", "width").index(a) for a in axes]
    )
    expected = raw(package(), mirrored)  # by the same network, which flips nothing itself
    np.testing.assert_array_equal(Agent("net").predict(image).outputs[0], expected)
    normalised = Agent("net").usage.preprocess(_fitted(image))
    np.testing.assert_array_equal(Agent("net").predict(normalised, preprocessed=True).outputs[0], expected)


def _fitted(image: np.ndarray) -> np.ndarray:
    from device_agent.image.resize import fit

    return fit(image, 8, 8)


def test_a_batch_is_answered_image_by_image(store):
    deploy(store, package())
    agent = Agent("net")
    images = np.stack([picture(seed) for seed in range(4)])
    answers = agent.predict(images)
    assert [a.label for a in answers] == [agent.predict(image).label for image in images]
    assert agent.predict(images[:0]) == []
    assert agent.latency.count == 8


def test_a_batch_ends_with_what_is_raised_before_one_of_its_images(store):
    deploy(store, package())
    agent, seen = Agent("net"), []

    def at_most_two() -> None:
        seen.append(agent.latency.count)
        if len(seen) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        agent.predict(np.stack([picture()] * 5), before_each=at_most_two)
    assert seen == [0, 1, 2]
    assert agent.latency.count == 2


def test_a_package_that_says_nothing_of_its_images_takes_only_what_the_model_takes(store):
    deploy(store, package(preprocess=None))
    agent = Agent("net")
    with pytest.raises(DataError, match=r"names no preprocessing.*--preprocess"):
        agent.predict(picture())
    with pytest.raises(DataError, match=r"another shape.*expected 8x8x3; found 9x9x3"):
        agent.predict(np.zeros((9, 9, 3), np.float32))
    told = Agent("net", preprocess="tf", labels=[name.upper() for name in LABELS])
    normalised = PREPROCESS["tf"](picture())
    assert told.predict(picture()).outputs[0].tolist() == agent.predict(normalised).outputs[0].tolist()
    assert told.predict(picture()).label == agent.predict(normalised).label.upper()


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (np.zeros((8, 8, 2), np.uint8), "another number of channels"),
        (np.zeros((0, 8, 3), np.uint8), "no such size"),
        (np.zeros(7, np.uint8), "number of dimensions"),
        (np.array(["a"]), "not an array of numbers"),
    ],
)
def test_what_is_no_image_is_refused_by_name(store, image, what):
    deploy(store, package())
    with pytest.raises(DataError, match=what):
        Agent("net").predict(image)


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": "zero"},
        {"labels": ["\x1b[2J"]},
        {"input": []},
        {"input": {"preprocess": 3}},
        {"input": {"preprocess": "imagenet"}},
        {"input": {"flip": ["depth"]}},
    ],
)
def test_metadata_that_make_no_sense_are_refused(tmp_path, metadata):
    from sdk.package.pack import pack
    from tests.sdk.graph.small_graphs import small_network

    path = tmp_path / "net.armlet"
    path.write_bytes(pack(write_graph(small_network()), metadata=metadata))
    with pytest.raises(DataError):
        Agent(path)


def test_an_integer_model_sees_what_a_float_model_sees_after_quantizing(int8_model, tmp_path):
    from sdk.package.pack import pack

    path = tmp_path / "int8.armlet"
    path.write_bytes(pack(int8_model, metadata={"input": {"preprocess": "mean=128:scale=2"}}))
    agent = Agent(path)
    image = picture(3, 2, 2)
    as_floats = agent.model.predict(((image.astype(np.float32) - 128) / 2)[None])
    np.testing.assert_array_equal(agent.predict(image).outputs[0], as_floats[0])
    np.testing.assert_array_equal(agent.predict(image.astype(np.float32)).outputs[0], as_floats[0])
    assert agent.predict(image).top == ()
    assert agent.predict(image).label is None


def test_pixels_go_into_the_tensor_without_a_copy_in_between(tmp_path):
    path = tmp_path / "net.armlet"
    path.write_bytes(package(size=256))
    image = picture(0, 256, 256)
    with Agent(path) as agent:
        agent.predict(image)
        tracemalloc.start()
        try:
            agent.predict(image)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < image.nbytes / 2, peak  # the tensor itself is the runtime's


# -- life -------------------------------------------------------------------------------------------------------------


def test_latency_is_counted_for_every_image(store):
    deploy(store, package())
    with Agent("net") as agent:
        for _ in range(20):
            agent.predict(picture())
        assert agent.latency.count == 20
        assert 0 < agent.latency.percentile(50) <= agent.latency.percentile(99) <= agent.latency.max < 5
        agent.latency.reset()
        assert agent.latency.count == 0


def test_a_closed_agent_says_so(store):
    deploy(store, package())
    with Agent("net") as agent:
        pass
    with pytest.raises(AgentError, match="closed"):
        agent.predict(picture())


def test_importing_it_takes_less_than_a_fifth_of_a_second_beyond_numpy_and_the_runtime():
    code = (
        "import json, time, numpy, ai_edge_litert.interpreter\n"
        "start = time.process_time()\n"
        "import device_agent; device_agent.Agent\n"
        "print(time.process_time() - start)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(runs) < 0.2, runs


# -- hot reload -------------------------------------------------------------------------------------------------------


def scores_of(data: bytes, image: np.ndarray) -> list[float]:
    return raw(data, PREPROCESS["tf"](image)).tolist()


def test_the_call_after_a_confirmation_runs_the_new_release_and_a_rollback_the_old(store):
    old, new = package(0), package(1)
    first = deploy(store, old)
    with Agent("net") as agent:
        assert agent.predict(picture()).outputs[0].tolist() == scores_of(old, picture())
        second = deploy(store, new)
        answer = agent.predict(picture())
        assert (answer.outputs[0].tolist(), answer.release) == (scores_of(new, picture()), second.id)
        store.rollback("net")
        assert agent.predict(picture()).release == first.id
        assert agent.reloads == 2


def test_a_release_that_goes_back_never_answers(store):
    old = deploy(store, package(0))
    with Agent("net") as agent:
        revert(store, package(1))
        assert agent.predict(picture()).release == old.id
        assert (agent.reloads, agent.reload_error) == (0, None)


def test_a_new_release_that_does_not_load_leaves_the_old_one_at_work(store):
    old = deploy(store, package(0))
    with Agent("net") as agent:
        with store.locked():
            from tests.device_agent.store.deploying import begin

            new = begin(store, package(1))
            blob = store.blobs.path(new.parts[0][0])
            blob.write_bytes(b"?" + blob.read_bytes()[1:])
            store.confirm("net")
        with pytest.warns(UserWarning, match="the new release is not taken"):
            assert agent.predict(picture()).release == old.id
        assert agent.reload_error is not None
        time.sleep(0.15)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            agent.predict(picture())
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # tried once, not at every call
            assert agent.predict(picture()).release == old.id
        good = deploy(store, package(2))
        assert agent.predict(picture()).release == good.id
        assert agent.reload_error is None


def test_where_the_current_release_is_damaged_at_the_start_the_previous_one_runs(store):
    old, new = deploy(store, package(0)), deploy(store, package(1))
    store.blobs.path(new.parts[0][0]).write_bytes(b"?")
    with pytest.warns(UserWarning, match="running the previous one"):
        agent = Agent("net")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert agent.predict(picture()).release == old.id


@pytest.mark.parametrize("reload", ["next call", "background"])
def test_threads_that_call_while_releases_come_and_go_lose_no_request_and_see_no_mixture(store, reload):
    packages = [package(seed) for seed in range(3)]
    images = [picture(seed) for seed in range(4)]
    right = {}
    first = deploy(store, packages[0])
    right[first.id] = [scores_of(packages[0], image) for image in images]
    agent = Agent("net", reload=reload)
    counts, wrong, done = [], [], threading.Event()

    def call(number: int) -> None:
        count = 0
        while not done.is_set():
            image = count % len(images)
            try:
                answer = agent.predict(images[image])
                if answer.outputs[0].tolist() != right[answer.release][image]:
                    wrong.append((number, answer.release))
            except BaseException as error:
                wrong.append((number, error))
                raise
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(1, 16):
            data = packages[turn % 3]
            if turn % 5 == 0:
                revert(store, packages[(turn + 1) % 3])
                continue
            # Known before it is confirmed: a thread may use it at once.
            from device_agent.record.release import Release

            with store.locked():
                from tests.device_agent.store.deploying import begin

                release: Release = begin(store, data)
                right[release.id] = [scores_of(data, image) for image in images]
                store.confirm("net")
                store.collect()
            if reload == "next call":
                assert agent.predict(images[0]).release == release.id
            time.sleep(0.02)
    finally:
        time.sleep(0.2)
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert min(counts) > 20
    assert agent.reloads >= 3
    deadline = time.monotonic() + 10
    while agent.predict(images[0]).release != store.slot("net").current:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_agent_that_is_not_to_reload_does_not(store):
    old = deploy(store, package(0))
    agent = Agent("net", reload="never")
    deploy(store, package(1))
    assert agent.predict(picture()).release == old.id


def test_answers_are_json(store):
    deploy(store, package())
    answer = json.loads(json.dumps(Agent("net", top=2).predict(picture()).to_json()))
    assert set(answer) == {"label", "index", "score", "top"}
    assert len(answer["top"]) == 2


# -- every input and output by name -----------------------------------------------------------------------------------


def test_models_of_several_inputs_without_a_batch_run_by_name(tmp_path):
    (tmp_path / "two.tflite").write_bytes(sum_and_difference())
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)
    with Agent(tmp_path / "two.tflite") as agent:
        outputs = agent.run({"b": b, "a": a})
        np.testing.assert_array_equal(outputs["sum"], a + b)
        np.testing.assert_array_equal(outputs["difference"], a - b)
        assert agent.latency.count == 1
        with pytest.raises(DataError, match="inputs") as caught:
            agent.run({"a": a})
        assert caught.value.expected == "a, b"
        with pytest.raises(DataError, match="one image or row") as caught:
            agent.predict(a)
        assert "Agent.run" in caught.value.hint


def test_a_state_is_kept_from_call_to_call_until_it_is_reset(tmp_path):
    (tmp_path / "sum.tflite").write_bytes(with_state())
    one = np.ones((1, 1), np.float32)
    with Agent(tmp_path / "sum.tflite") as agent:
        kept = [float(agent.run({"x": one})["y"][0, 0]) for _ in range(3)]
        assert kept == [1.0, 2.0, 3.0]
        assert float(agent.run({"x": one}, reset=True)["y"][0, 0]) == 1.0


def test_real_values_go_in_and_come_out_of_a_quantised_model(tmp_path, int8_model, expected):
    (tmp_path / "int8.tflite").write_bytes(int8_model)
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3) - 6
    with Agent(tmp_path / "int8.tflite") as agent:
        (y,) = agent.run(x).values()
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected(x), atol=1.0)
