"""`:run` of `serve`: every input and output by name, and what is said of bodies that are wrong."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from benchmarks.speed.serve_load import UnixConnection
from device_agent.errors import DataError
from device_agent.serve.named_tensors import named_answer, named_question
from device_agent.store.store import Store
from tests.device_agent.serve.served import running
from tests.device_agent.store.deploying import deploy
from tests.device_agent.tiny_models import sum_and_difference


def body(**fields) -> bytes:
    return json.dumps(fields).encode()


def raw(array: np.ndarray) -> dict:
    data = base64.b64encode(array.tobytes()).decode()
    return {"shape": list(array.shape), "dtype": array.dtype.name, "data": data}


def test_inputs_are_lists_or_bytes():
    words = np.arange(6, dtype=np.int32).reshape(2, 3)
    question = named_question(
        body(inputs={"a": [[1, 2.5]], "b": raw(words), "c": 3, "d": raw(np.float32(2))})
    )
    np.testing.assert_array_equal(question.inputs["a"], [[1, 2.5]])
    np.testing.assert_array_equal(question.inputs["b"], words)
    assert question.inputs["c"].shape == question.inputs["d"].shape == ()
    assert (question.reset, question.encoding) == (False, "lists")


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"[]",
        body(image=[1]),
        body(inputs=[1]),
        body(inputs={"a": [1, [2]]}),
        body(inputs={"a": [1, "xxxx"]}),
        body(inputs={"a": [True]}),
        body(inputs={"a": None}),
        body(inputs={"a": {"shape": [1], "data": "AAAA"}}),
        body(inputs={"a": {"shape": [2], "dtype": "float32", "data": "AAAA"}}),
        body(inputs={"a": {"shape": ["x"], "dtype": "float32", "data": "AAAA"}}),
        body(inputs={"a": {"shape": [1], "dtype": "float32", "data": "!"}}),
        body(inputs={"a": [[[[[[[[[1]]]]]]]]]}),
        body(inputs={}, reset=1),
        body(inputs={}, encoding="yaml"),
        body(inputs={}, more=1),
        body(inputs={str(n): 1 for n in range(100)}),
    ],
)
def test_what_is_wrong_is_told(wrong):
    with pytest.raises(DataError) as caught:
        named_question(wrong)
    assert caught.value.what


def test_long_outputs_go_as_bytes_only():
    outputs = {"y": np.zeros(1 << 19, np.float32)}
    with pytest.raises(DataError, match="too long for lists"):
        named_answer(outputs, named_question(body(inputs={})))
    told = named_answer(outputs, named_question(body(inputs={}, encoding="base64")))["y"]
    assert len(base64.b64decode(told["data"])) == outputs["y"].nbytes


def test_a_server_answers_by_name(home, socket_folder):
    deploy(Store(home / "store"), sum_and_difference())
    path = socket_folder / "serve.sock"
    with running(path, "--name", "net"):
        connection = UnixConnection(path)
        headers = {"Content-Type": "application/json"}
        question = body(inputs={"a": [[1, 2, 3], [4, 5, 6]], "b": [[1, 1, 1], [1, 1, 1]]})
        connection.request("POST", "/v1/models/net:run", question, headers)
        answer = connection.getresponse()
        told = json.loads(answer.read())
        assert answer.status == 200, told
        assert told["outputs"]["sum"] == {
            "shape": [2, 3],
            "dtype": "float32",
            "values": [[2, 3, 4], [5, 6, 7]],
        }
        assert told["outputs"]["difference"]["values"] == [[0, 1, 2], [3, 4, 5]]
        connection.request("POST", "/v1/models/net:run", body(inputs={"a": [1]}), headers)
        answer = connection.getresponse()
        assert (answer.status, "a, b" in answer.read().decode()) == (400, True)
        connection.request("GET", "/v1/models/net")
        told = json.loads(connection.getresponse().read())
        assert [one["name"] for one in told["inputs"]] == ["a", "b"]
        connection.close()
