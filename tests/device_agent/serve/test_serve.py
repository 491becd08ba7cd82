"""`serve`: what each address answers, and what it says of requests that are wrong."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import socket
import stat

import numpy as np
import pytest
from PIL import Image

from benchmarks.speed.serve_load import UnixConnection
from device_agent import Agent
from device_agent.errors import AgentError
from device_agent.image import pictures
from device_agent.run.kernels import delegate
from device_agent.serve.supervisor import begin
from device_agent.store.store import Store
from device_agent.verbs.parser import parse
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from tests.device_agent.run.kernels.layers_with_zeros import classifier, sparse_matrix
from tests.device_agent.serve.served import RAW, ask, ask_raw, exchange, running
from tests.device_agent.store.deploying import LABELS, deploy, package
from tests.sdk.graph.answering_graphs import saying, yolo_rows

PREDICT = "/v1/models/net:predict"


@pytest.fixture
def store(home) -> Store:
    return Store(home / "store")


@pytest.fixture
def server(store, socket_folder):
    """A server of one small network, and a connection to it."""
    deploy(store, package())
    path = socket_folder / "serve.sock"
    with running(path, "--name", "net", "--max-body", "100000") as serving:
        serving.path = path
        serving.connection = UnixConnection(path)
        yield serving
        serving.connection.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory, new_socket_folder):
    """One server for many requests, over TCP, which names of hosts matter for."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARMLET_HOME", str(folder))
        deploy(Store(folder / "store"), package())
        with running(new_socket_folder() / "serve.sock", "--port", "0", "--max-body", "100000") as serving:
            serving.connection = http.client.HTTPConnection(
                "127.0.0.1", serving.listeners[1].port, timeout=30
            )
            yield serving
            serving.connection.close()


def picture(seed: int = 0, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# -- answers ----------------------------------------------------------------------------------------------------------


def test_raw_pixels_are_answered_by_name_as_the_embedded_agent_answers(server):
    expected = Agent("net").predict(picture())
    answer = ask_raw(server.connection, picture(), query="?top=3")
    assert answer.status == 200
    assert answer.json["label"] == expected.label
    assert answer.json["score"] == pytest.approx(expected.score)
    assert [entry["index"] for entry in answer.json["top"]] == [s.index for s in expected.top[:3]]
    assert answer.json["release"] == expected.release
    assert answer.json["model"] == "net"


def test_raw_scores_are_given_to_who_accepts_them(server):
    expected = Agent("net").predict(picture())
    answer = ask_raw(server.connection, picture(), Accept=RAW)
    assert answer.headers["Release"] == expected.release
    np.testing.assert_array_equal(answer.array, expected.outputs[0])
    missing = ask_raw(server.connection, picture(), query="?output=1", Accept=RAW)
    assert (missing.status, missing.json["expected"]) == (400, "0 to 0")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/json;q=0.5, application/octet-stream", RAW),
        ("application/octet-stream, */*;q=0.1", RAW),
        ("application/octet-stream;q=0.4, application/*", "application/json"),
        ("application/octet-stream, application/*", RAW),
        ("", "application/json"),
    ],
)
def test_what_is_accepted_decides_the_form(server, accept, kind):
    assert ask_raw(server.connection, picture(), Accept=accept).headers["Content-Type"] == kind


def test_an_image_of_any_size_and_a_batch_are_answered(server):
    agent = Agent("net")
    large = picture(1, 31, 20)
    assert ask_raw(server.connection, large).json["label"] == agent.predict(large).label
    batch = np.stack([picture(seed) for seed in range(3)])
    answers = ask_raw(server.connection, batch).json["answers"]
    assert [a["label"] for a in answers] == [a.label for a in agent.predict(batch)]
    scores = ask_raw(server.connection, batch, Accept=RAW).array
    np.testing.assert_array_equal(scores, np.stack([a.outputs[0] for a in agent.predict(batch)]))
    assert ask_raw(server.connection, batch[:0]).json["answers"] == []
    many = np.zeros((65, 8, 8, 3), np.uint8)
    assert ask_raw(server.connection, many).json["expected"] == "at most 64 inputs"


def json_body(**fields) -> bytes:
    return json.dumps(fields).encode()


def test_json_takes_nested_lists_and_base64(server):
    agent, image = Agent("net"), picture()
    expected = agent.predict(image).score

    def score(**fields) -> float:
        answer = ask(server.connection, PREDICT, json_body(**fields), Content_Type="application/json")
        assert answer.status == 200, answer.body
        return answer.json["score"]

    encoded = base64.b64encode(image.tobytes()).decode()
    assert score(image=image.tolist()) == expected
    assert score(image=image.tolist(), shape=[8, 8, 3]) == expected
    assert score(image=encoded, shape=[8, 8, 3], dtype="uint8") == expected
    assert score(image=image.astype(float).tolist()) == agent.predict(image.astype(np.float32)).score
    normalised = agent.usage.preprocess(image)
    assert score(image=normalised.tolist(), preprocessed=True) == pytest.approx(expected)


def test_encoded_images_are_decoded_where_pillow_is(server, monkeypatch):
    image = picture(3, 20, 20)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    png = buffer.getvalue()
    expected = Agent("net").predict(image).score
    assert ask(server.connection, PREDICT, png, Content_Type="image/png").json["score"] == expected
    text = json_body(image=base64.b64encode(png).decode())
    assert ask(server.connection, PREDICT, text, Content_Type="application/json").json["score"] == expected
    broken = ask(server.connection, PREDICT, png[:50], Content_Type="image/png")
    assert (broken.status, broken.json["what"]) == (400, "the image cannot be decoded")
    buffer = io.BytesIO()
    Image.new("L", (5000, 5000)).save(buffer, "PNG")
    huge = ask(server.connection, PREDICT, buffer.getvalue(), Content_Type="image/png")
    assert (huge.status, huge.json["found"]) == (400, "5000x5000")

    monkeypatch.setattr(pictures, "decoder_version", lambda: None)
    for body, kind in ((png, "image/png"), (text, "application/json")):
        answer = ask(server.connection, PREDICT, body, Content_Type=kind)
        assert (answer.status, answer.json["error"]) == (415, "NoDecoder")
        assert "python3-pil" in answer.json["hint"]


def test_scores_that_are_no_numbers_are_null_in_json(server, monkeypatch):
    nan = np.full((8, 8, 3), np.nan, np.float32)
    answer = ask_raw(server.connection, nan, query="?preprocessed=true")
    assert (answer.status, answer.json["score"]) == (200, None)


def test_models_say_what_they_take(server):
    answer = ask(server.connection, "/v1/models/net")
    assert answer.json["input"] == {
        "shape": [8, 8, 3],
        "dtype": "float32",
        "preprocess": "tf",
        "flip": [],
        "fit": "crop",
    }
    assert answer.json["task"] is None
    assert answer.json["outputs"] == [{"name": "scores", "shape": [10], "dtype": "float32"}]
    assert answer.json["labels"] == LABELS
    assert answer.json["release"] == Agent("net").release
    assert ask(server.connection, "/v1/models").json == {"models": [answer.json]}


def test_models_say_how_many_operators_run_in_kernels_of_armlet(
    store, socket_folder, monkeypatch, c_delegate
):
    monkeypatch.setenv(delegate.VARIABLE, str(c_delegate))
    deploy(store, pack(classifier([sparse_matrix(200, 300, 0.05), sparse_matrix(10, 200, 0.05)])))
    for kernels, count in (("armlet", 2), ("runtime", 0)):
        monkeypatch.setenv(delegate.CHOICE_VARIABLE, kernels)
        path = socket_folder / f"{kernels}.sock"
        with running(path, "--name", "net"), contextlib.closing(UnixConnection(path)) as connection:
            assert ask(connection, "/v1/models/net").json["armlet_operators"] == count


def test_health_and_metrics(server):
    for path in ("/healthz", "/healthz/live", "/healthz/ready"):
        answer = ask(server.connection, path)
        assert (answer.status, answer.json["live"], answer.json["ready"]) == (200, True, True)
    ask_raw(server.connection, picture())
    ask_raw(server.connection, picture(), name="other")
    answer = ask(server.connection, "/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.body.decode().splitlines()
    assert 'armlet_requests_total{model="net",code="200"} 1' in lines
    assert 'armlet_requests_total{model="",code="404"} 1' in lines
    assert 'armlet_request_duration_seconds_bucket{model="net",le="+Inf"} 1' in lines
    assert 'armlet_request_duration_seconds_count{model="net"} 1' in lines
    assert 'armlet_in_flight{model="net"} 0' in lines
    release = Agent("net").release
    assert any(line.startswith(f'armlet_release_info{{model="net",release="{release}"') for line in lines)
    # Every sample belongs to a family that was announced, and no family comes twice.
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(set(families)) == len(families)
    for line in lines:
        name = line.split("{")[0].split()[0]
        assert line.startswith("#") or any(name.startswith(family) for family in families)


def test_a_connection_is_kept_for_many_requests_and_head_has_no_body(server):
    for seed in range(5):
        assert ask_raw(server.connection, picture(seed)).status == 200
    head = ask(server.connection, "/healthz", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0
    assert ask(server.connection, "/healthz").status == 200
    assert server.listeners[0].connections == 1


# -- requests that are wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "options", "status", "what"),
    [
        ("/", {}, 404, "there is no such address"),
        ("/v1/models/other", {}, 404, "no such model"),
        ("/v1/models/../net", {}, 404, "no such model"),
        ("/v1/models/net:train", {}, 404, "no such address"),
        (PREDICT, {}, 405, "does not take this method"),
        ("/metrics", {"method": "DELETE"}, 405, "does not take this method"),
        ("/metrics", {"method": "BREW"}, 405, "does not take this method"),
        (PREDICT, {"body": b"x"}, 415, "type is not read"),
        (PREDICT, {"body": b"x", "Content_Type": "text/plain"}, 415, "type is not read"),
        (PREDICT, {"body": b"", "Content_Type": "application/json"}, 400, "not JSON"),
        (PREDICT, {"body": b"\xff", "Content_Type": "application/json"}, 400, "not JSON"),
        (PREDICT, {"body": b"[" * 50000, "Content_Type": "application/json"}, 400, "not JSON"),
        (PREDICT, {"body": b"[]", "Content_Type": "application/json"}, 400, "not what is asked for"),
        (PREDICT, {"body": b'{"image":NaN}', "Content_Type": "application/json"}, 400, "not JSON"),
        (
            PREDICT,
            {"body": b'{"image":[' + b"9" * 5000 + b"]}", "Content_Type": "application/json"},
            400,
            "JSON",
        ),
        (PREDICT, {"body": b'{"image":3}', "Content_Type": "application/json"}, 400, "`image` is wrong"),
        (PREDICT, {"body": b'{"image":"?"}', "Content_Type": "application/json"}, 400, "not base64"),
        (PREDICT, {"body": b'{"image":"AAAA","shape":[9]}', "Content_Type": "application/json"}, 400, "type"),
        (
            PREDICT,
            {"body": b'{"image":[[1],[1,2]]}', "Content_Type": "application/json"},
            400,
            "not one array",
        ),
        (PREDICT, {"body": b'{"image":["a"]}', "Content_Type": "application/json"}, 400, "not an array"),
        (PREDICT, {"body": b'{"image":[256]}', "Content_Type": "application/json"}, 400, "does not fit"),
        (PREDICT, {"body": b'{"image":[1e39]}', "Content_Type": "application/json"}, 400, "does not fit"),
        (
            PREDICT,
            {"body": b'{"image":[1],"shape":[2]}', "Content_Type": "application/json"},
            400,
            "another shape",
        ),
        (
            PREDICT,
            {"body": b'{"image":[1],"x":1}', "Content_Type": "application/json"},
            400,
            "unknown fields",
        ),
        (PREDICT, {"body": b'{"image":[1],"top":0}', "Content_Type": "application/json"}, 400, "`top`"),
        (
            PREDICT,
            {"body": b'{"image":[1]}', "Content_Type": "application/json"},
            400,
            "number of dimensions",
        ),
        (PREDICT, {"body": b"x", "Content_Type": RAW}, 400, "shape of the tensor is missing"),
        (
            PREDICT,
            {"body": b"x", "Content_Type": RAW, "Tensor_Shape": "1,-1"},
            400,
            "shape of the tensor is wrong",
        ),
        (
            PREDICT,
            {"body": b"x", "Content_Type": RAW, "Tensor_Shape": "1"},
            400,
            "type of the tensor is missing",
        ),
        (
            PREDICT,
            {"body": b"x", "Content_Type": RAW, "Tensor_Shape": "1", "Tensor_Dtype": "object"},
            400,
            "type of the tensor is unknown",
        ),
        (
            PREDICT,
            {
                "body": b"x",
                "Content_Type": RAW,
                "Tensor_Shape": "999999999,999999999",
                "Tensor_Dtype": "int64",
            },
            400,
            "another size",
        ),
        (PREDICT + "?top=x", {"body": b"x", "Content_Type": RAW}, 400, "option top is wrong"),
        (PREDICT + "?pot=1", {"body": b"x", "Content_Type": RAW}, 400, "unknown option"),
        (PREDICT + "?top=1&top=2", {"body": b"x", "Content_Type": RAW}, 400, "given twice"),
        (PREDICT, {"body": b"x", "Content_Type": RAW, "Accept": "text/html"}, 406, "no answer of this type"),
        (PREDICT, {"body": bytes(100001), "Content_Type": RAW}, 413, "too large"),
        ("/healthz", {"Host": "evil.example"}, 421, "under another name"),
    ],
)
def test_each_mistake_is_named_and_the_server_goes_on(shared, path, options, status, what):
    answer = ask(shared.connection, path, **options)
    assert (answer.status, what in answer.json["what"]) == (status, True), answer.body
    assert set(answer.json) == {"error", "what", "expected", "found", "hint"}
    assert ask_raw(shared.connection, picture()).status == 200
    assert shared.pools["net"].held == 0


# -- where it listens -------------------------------------------------------------------------------------------------


def options_of(*arguments: str):
    return parse(["serve", *arguments])


def test_the_socket_is_private_and_goes_with_the_server(server, socket_folder):
    assert stat.S_IMODE(os.stat(server.path).st_mode) == 0o600
    with pytest.raises(AgentError, match="listens there already"):
        begin(options_of("--socket", str(server.path)))
    with running(socket_folder / "new" / "other.sock"):
        assert stat.S_IMODE(os.stat(socket_folder / "new").st_mode) == 0o700
    assert not (socket_folder / "new" / "other.sock").exists()
    assert ask(server.connection, "/healthz").status == 200


def test_a_socket_that_a_dead_server_left_is_replaced_and_another_file_is_not(store, socket_folder):
    deploy(store, package())
    path = socket_folder / "serve.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with running(path):
        assert b"200 OK" in exchange(path, b"GET /healthz HTTP/1.0\r\n\r\n")
    path.write_text("precious")
    with pytest.raises(AgentError, match="another kind of file"):
        begin(options_of("--socket", str(path)))
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "where to listen"),
        (("--port", "70000"), "not a port"),
        (("--port", "0", "--bind", "0.0.0.0"), "has no login"),
        (("--port", "0", "--bind", "example.org"), "not an address"),
        (("--port", "0", "--bind", "192.0.2.1", "--allow-remote"), "cannot listen"),
        (("--socket", "/proc/serve.sock"), "cannot listen"),
        (("--socket", "/tmp/" + "x" * 120), "cannot listen"),
        (("--port", "0", "--workers", "0"), "--workers is too small"),
        (("--port", "0", "--deadline", "nan"), "--deadline is not a time"),
        (("--port", "0", "--name", "other"), "nothing is deployed under the name other"),
    ],
)
def test_what_cannot_be_served_is_refused_at_the_start(store, arguments, what):
    from device_agent.errors import ArmletError

    deploy(store, package())
    with pytest.raises(ArmletError, match=what):
        begin(options_of(*arguments))


def test_an_empty_board_has_nothing_to_serve(store):
    with pytest.raises(AgentError, match="nothing to serve"):
        begin(options_of("--port", "0"))


def test_a_detector_answers_with_boxes(store, socket_folder):
    rows = yolo_rows(64, [0.5, 0.5, 0.5, 0.5, 0.1, 0.9, 0.2])
    metadata = {
        "input": {"preprocess": "01", "fit": "letterbox"},
        "labels": ["cat", "dog", "bird"],
        "task": {"kind": "detections", "form": "yolov8 rows", "outputs": [0], "classes": 3},
    }
    deploy(store, pack(write_graph(saying(64, out=rows)), metadata=metadata))
    image = np.zeros((100, 200, 3), np.uint8)
    with running(socket_folder / "serve.sock", "--name", "net"):
        connection = UnixConnection(socket_folder / "serve.sock")
        answer = ask_raw(connection, image).json
        (box,) = answer["boxes"]
        assert (answer["task"], box["label"], box["box"]) == ("detections", "dog", [50.0, 0.0, 150.0, 100.0])
        assert ask(connection, "/v1/models/net").json["task"]["form"] == "yolov8 rows"
        assert ask_raw(connection, image, query="?threshold=0.95").json["boxes"] == []
        assert ask_raw(connection, image, query="?threshold=none").status == 400
        connection.close()
