"""What a stranger's bytes can do to `serve`: nothing. Each gets a named answer or the end of the connection."""

from __future__ import annotations

import json
import re
import socket
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.speed.serve_load import UnixConnection
from device_agent.errors import DataError
from device_agent.record import wire
from device_agent.serve import http_connection, http_listener
from device_agent.store.store import Store
from tests.device_agent.serve.served import RAW, ask_raw, exchange, running
from tests.device_agent.store.deploying import deploy, package

HEAD = b"POST /v1/models/net:predict HTTP/1.1\r\nHost: localhost\r\n"
TENSOR = f"Content-Type: {RAW}\r\nTensor-Shape: 8,8,3\r\nTensor-Dtype: uint8\r\n".encode()
BODY = bytes(range(192))


@pytest.fixture(scope="module")
def server(tmp_path_factory, new_socket_folder):
    """One server that does not wait long for anybody."""
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARMLET_HOME", str(folder))
        deploy(Store(folder / "store"), package())
        options = (
            "--max-body",
            "100000",
            "--read-seconds",
            "0.6",
            "--idle-seconds",
            "5",
            "--max-connections",
            "8",
        )
        path = new_socket_folder() / "serve.sock"
        with running(path, *options) as serving:
            serving.path = path
            yield serving


def works(server) -> None:
    """The server answers, holds no place and no connection more than it should."""
    connection = UnixConnection(server.path)
    try:
        assert ask_raw(connection, np.frombuffer(BODY, np.uint8).reshape(8, 8, 3)).status == 200
        end = time.monotonic() + 10
        while server.pools["net"].held or server.listeners[0].connections > 1:
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        connection.close()


def answers(received: bytes) -> list[tuple[int, dict]]:
    """Status and document of each answer, which have to follow one another exactly."""
    found = []
    while received:
        match = re.match(
            rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*?Content-Length: (\d+)\r\n", received
        )
        assert match, received[:200]
        rest = received.partition(b"\r\n\r\n")[2]
        size = int(match.group(2))
        assert len(rest) >= size
        found.append((int(match.group(1)), json.loads(rest[:size])))
        received = rest[size:]
    return found


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 505),
        (b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /healthz HTTP/x\r\nHost: x\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nno colon\r\nX: y\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 70000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (HEAD + TENSOR + b"Content-Length: -1\r\n\r\n" + BODY, 400),
        (HEAD + TENSOR + b"Content-Length: +192\r\n\r\n" + BODY, 400),
        (HEAD + TENSOR + b"Content-Length: 1_9_2\r\n\r\n" + BODY, 400),
        (HEAD + TENSOR + b"Content-Length: 0x10\r\n\r\n" + BODY, 400),
        (HEAD + TENSOR + b"Content-Length: 192, 192\r\n\r\n" + BODY, 400),
        (HEAD + TENSOR + b"Content-Length: 192\r\nContent-Length: 5\r\n\r\n" + BODY, 400),
        (HEAD + TENSOR + b"Content-Length: 99999999999999999999999999\r\n\r\n" + BODY, 400),
        (HEAD + TENSOR + b"Content-Length: 999999999999\r\n\r\n" + BODY, 413),
        (HEAD + TENSOR + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 411),
        (HEAD + TENSOR + b"Transfer-Encoding: chunked\r\nContent-Length: 192\r\n\r\n" + BODY, 400),
    ],
)
def test_a_malformed_request_is_refused_once_and_the_connection_closed(server, request_bytes, status):
    received = exchange(server.path, request_bytes)
    [(found, document)] = answers(received)
    assert found == status, document
    assert document["what"]
    assert b"Connection: close" in received
    works(server)


def test_no_content_length_is_an_empty_body(server):
    [(status, document)] = answers(exchange(server.path, HEAD + TENSOR + b"Connection: close\r\n\r\n"))
    assert (status, document["found"]) == (400, "0 bytes")


@pytest.mark.parametrize("count", [0, 1, 100, 191])
def test_a_body_that_ends_early_is_no_request(server, count):
    request = HEAD + TENSOR + b"Content-Length: 192\r\n\r\n" + BODY[:count]
    [(status, document)] = answers(exchange(server.path, request, end=True))
    assert (status, document["found"]) == (400, f"{count} bytes")
    works(server)


@pytest.mark.parametrize("cut", [5, 30, 60, 150])
def test_a_head_that_ends_early_is_no_request(server, cut):
    whole = HEAD + TENSOR + b"Content-Length: 192\r\n\r\n"
    [(status, document)] = answers(exchange(server.path, whole[:cut], end=True))
    assert status == 400
    assert "ends early" in document["what"] or "Bad request" in document["what"]
    works(server)


@pytest.mark.parametrize("begin", [b"G", HEAD, HEAD + TENSOR + b"Content-Length: 192\r\n\r\nabc"])
def test_who_dribbles_is_cut_off_in_time_however_often_a_byte_comes(server, begin):
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(server.path))
        channel.settimeout(0.1)
        channel.sendall(begin)
        start, received = time.monotonic(), b""
        while time.monotonic() - start < 10:
            try:
                channel.sendall(b"a")
                block = channel.recv(1 << 16)
                if not block:
                    break
                received += block
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        assert time.monotonic() - start < 5
    [(status, _)] = answers(received)
    assert status == 408
    works(server)


def silent(server, count: int, begin: bytes = b"") -> list[socket.socket]:
    """Connections that send this and nothing more, once those of before are gone."""
    end = time.monotonic() + 10
    while server.listeners[0].connections and time.monotonic() < end:
        time.sleep(0.01)
    channels = []
    for _ in range(count):
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(str(server.path))
        channel.sendall(begin)
        channels.append(channel)
    return channels


@pytest.mark.parametrize("begin", [b"", b"POST /v1", HEAD + TENSOR + b"Content-Length: 192\r\n\r\nabc"])
def test_who_keeps_us_waiting_makes_room_for_who_comes(server, monkeypatch, begin):
    channels = silent(server, 8, begin)
    end = time.monotonic() + 10
    while server.listeners[0].connections < 8:
        assert time.monotonic() < end
        time.sleep(0.01)
    monkeypatch.setattr(http_listener, "PATIENCE_SECONDS", 60.0)
    received = exchange(server.path, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in received
    monkeypatch.setattr(http_listener, "PATIENCE_SECONDS", 0.0)
    before = server.listeners[0].ended_for_others
    received = exchange(server.path, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 ")
    assert server.listeners[0].ended_for_others == before + 1
    for channel in channels:
        channel.close()
    works(server)


def test_a_head_alone_takes_no_place(server):
    channels = silent(server, 6, HEAD + TENSOR + b"Content-Length: 192\r\n\r\n")
    end = time.monotonic() + 10
    while server.listeners[0].requests < 6:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert server.pools["net"].held == 0
    received = exchange(
        server.path, HEAD + TENSOR + b"Connection: close\r\nContent-Length: 192\r\n\r\n" + BODY
    )
    assert received.startswith(b"HTTP/1.1 200 ")
    for channel in channels:
        channel.close()
    works(server)


def test_bodies_of_all_clients_together_are_bounded(server, monkeypatch):
    bodies = http_listener.ByteBudget(1000)
    monkeypatch.setattr(server.listeners[0], "bodies", bodies)
    monkeypatch.setattr(http_listener, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(http_connection, "ROOM_SECONDS", 0.05)
    large = HEAD + TENSOR + b"Content-Length: 1001\r\n\r\n" + bytes(1001)
    [(status, document)] = answers(exchange(server.path, large))
    assert (status, document["what"]) == (503, "this server has no memory left for this body")
    assert bodies.take(1000)  # all is given back
    bodies.give_back(1000)
    works(server)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b'{"image":[' + b"1," * 2000 + b'"' + b"x" * 2000 + b'"]}', "not an array of numbers"),
        (b'{"image":[' + b"[]," * 2000 + b"1]}", "not an array of numbers"),
        (b'{"image":[' + b"[1]," * 2000 + b"[1,2]]}", "not one array"),
        (b'{"image":' + b"[" * 6 + b"1" + b"]" * 6 + b"}", "too deep"),
        (b'{"image":[' + b"0." + b"1" * 5000 + b"]}", "not JSON"),
        (b'{"image":[' + b"1" * 5000 + b"]}", "not JSON"),
        (b'{"image":[1' + b"0" * 390 + b"]}", "too large"),
    ],
)
def test_json_is_looked_at_before_there_is_an_array(document, problem):
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=problem):
            wire.question_of_json(document)
        assert tracemalloc.get_traced_memory()[1] < 40 * len(document) + 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["1", "1.5", "[1]", "[1.5]"])
def test_the_memory_of_nested_lists_is_a_multiple_of_their_text(text):
    document = b'{"image":[' + b",".join([text.encode()] * 20_000) + b"]}"
    tracemalloc.start()
    try:
        assert wire.question_of_json(document).image.size == 20_000
        assert tracemalloc.get_traced_memory()[1] < 30 * len(document)
    finally:
        tracemalloc.stop()


def test_a_body_is_asked_for_only_when_it_is_wanted(server):
    expecting = HEAD + TENSOR + b"Expect: 100-continue\r\nConnection: close\r\n"
    received = exchange(server.path, expecting + b"Content-Length: 192\r\n\r\n" + BODY)
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    received = exchange(server.path, expecting + b"Content-Length: 100001\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")
    works(server)


def test_requests_that_follow_without_waiting_are_answered_in_order(server):
    good = HEAD + TENSOR + b"Content-Length: 192\r\n\r\n" + BODY
    bad = (
        HEAD
        + b"Content-Type: text/plain\r\nContent-Length: 100\r\n\r\n"
        + b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".ljust(100)
    )
    last = b"GET /healthz HTTP/1.0\r\n\r\n"
    received = exchange(server.path, good + bad + b"\r\n" + good + last)
    assert [status for status, _ in answers(received)] == [200, 415, 200, 200]
    works(server)


def test_who_does_not_read_the_answer_does_not_stop_the_others(server):
    channels = []
    for _ in range(4):
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(str(server.path))
        channel.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        channels.append(channel)
    connection = UnixConnection(server.path)
    assert ask_raw(connection, np.zeros((8, 8, 3), np.uint8)).status == 200
    connection.close()
    for channel in channels:
        channel.close()
    works(server)


header = st.sampled_from(
    [
        "Host: localhost",
        "Host: a b",
        "Content-Length: 0",
        "Content-Length: 5",
        "Content-Length: 192",
        "Content-Length: -5",
        "Content-Length: ٣",
        "Content-Length:",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Connection: close",
        "Connection: keep-alive",
        "Expect: 100-continue",
        "Content-Type: application/json",
        "Content-Type: application/octet-stream",
        "Content-Type: image/png",
        "Tensor-Shape: 8,8,3",
        "Tensor-Shape: 0,8,3",
        "Tensor-Shape: ,,",
        "Tensor-Dtype: uint8",
        "Tensor-Dtype: float64",
        "Accept: application/octet-stream",
        "Accept: ;q=x",
        ": empty",
        " folded",
        "no colon",
    ]
)
line = st.tuples(
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "", "get", "\x00"]),
    st.sampled_from(
        [
            "/healthz",
            "/metrics",
            "/v1/models",
            "/v1/models/net:predict",
            "/v1/models/net:predict?top=2",
            "/",
            "*",
            "//",
            "/%00",
        ]
    ),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/9.9", ""]),
).map(" ".join)
body = st.one_of(
    st.binary(max_size=300),
    st.just(BODY),
    st.sampled_from([b'{"image":[[[0,0,0]]]}', b"{}", b"[[[[", b"5\r\nhello\r\n0\r\n\r\n"]),
)
message = st.one_of(
    st.binary(max_size=200),
    st.tuples(line, st.lists(header, max_size=8), st.sampled_from(["\r\n", "\n"]), body).map(
        lambda parts: parts[2].join([parts[0], *parts[1], "", ""]).encode() + parts[3]
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(message, min_size=1, max_size=3))
def test_whatever_comes_the_answers_are_whole_and_the_server_goes_on(server, messages):
    received = exchange(server.path, b"".join(messages), end=True)
    while received:
        head, separator, rest = received.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        assert separator, received[:200]
        assert status, received[:200]
        assert status.group(1) != b"500", received[:500]
        if status.group(1) == b"100":
            received = rest
            continue
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        assert length
        # The answer to HEAD has the length of a body that does not come.
        whole = len(rest) >= int(length.group(1)) and not rest.startswith(b"HTTP/1.1 ")
        received = rest[int(length.group(1)) :] if whole else rest
    assert server.pools["net"].held == 0


def test_the_server_still_works_after_all_that(server):
    works(server)
    assert not any(code["code"] == "500" for code, _ in server.answered.samples())


# -- arrays -----------------------------------------------------------------------------------------------------------

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=12,
)
field = st.sampled_from(["image", "shape", "dtype", "preprocessed", "top", "other"])


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.dictionaries(field, values, max_size=5), values))
def test_any_json_is_an_array_or_refused(document):
    try:
        question = wire.question_of_json(json.dumps(document).encode())
    except DataError:
        return
    assert question.encoded or question.image.dtype.kind in "fiu"


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.none(),
        st.text(max_size=30),
        st.lists(st.integers(0, 20), max_size=7).map(lambda n: ",".join(map(str, n))),
    ),
    st.one_of(st.none(), st.sampled_from([*wire.DTYPES, "object", "O", "uint8 "]), st.text(max_size=5)),
    st.binary(max_size=64),
)
def test_any_description_of_a_tensor_fits_its_bytes_or_is_refused(shape, dtype, data):
    try:
        array = wire.tensor(data, shape, dtype)
    except DataError:
        return
    assert array.tobytes() == data
