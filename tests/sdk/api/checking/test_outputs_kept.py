"""What a compression without data does to the outputs is measured, said, and by default no harm."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sdk
from sdk.api.checking import outputs_kept
from sdk.api.checking.outputs_kept import OutputsOf
from sdk.cli import main
from sdk.errors import RuntimeFailed
from sdk.graph.before_choice import before_choice
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.reader import read_graph
from sdk.graph.records import Operator, Tensor
from sdk.graph.writer import write_graph
from sdk.report.terminal.drawing import compressed as drawn
from tests.sdk.graph.small_graphs import naming_its_class, small_network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(write_graph(small_network(channels=32)))
    return path


def test_the_default_does_no_harm_and_is_smaller(model: Path, tmp_path: Path) -> None:
    made = sdk.compress_model(model, tmp_path / "out.armlet")
    assert made.outputs is not None
    assert made.outputs.decibel >= 20
    assert made.outputs.cosine > 0.99
    assert made.ratio > 2
    assert made.reach is not None
    assert made.reach.left_alone == ()


def test_an_output_that_hardly_varies_is_named_because_it_tells_little(model: Path, tmp_path: Path) -> None:
    varies = sdk.compress_model(model, tmp_path / "out.armlet")
    assert not any("hardly change" in note for note in varies.notes)
    graph = read_graph(model.read_bytes())
    number = graph.outputs[0]
    shape = graph.tensors[number].shape
    far, shifted = len(graph.tensors), len(graph.tensors) + 1
    tensors = (
        Tensor("far", (1,), "FLOAT32", np.array([1e4], np.float32)),
        Tensor("shifted", shape, "FLOAT32"),
    )
    shift = Operator("ADD", (number, far), (shifted,), {}, "AddOptions")
    still = replace(
        graph,
        tensors=(*graph.tensors, *tensors),
        operators=(*graph.operators, shift),
        outputs=(shifted,),
        signatures=(),
    )
    path = tmp_path / "still.tflite"
    path.write_bytes(write_graph(still))
    made = sdk.compress_model(path, tmp_path / "out.armlet")
    assert any("hardly change the output shifted" in note and "--data" in note for note in made.notes)


def test_a_recipe_replays_it(model: Path, tmp_path: Path) -> None:
    first = sdk.compress_model(model, tmp_path / "a.armlet", save_recipe=tmp_path / "r.toml")
    again = sdk.compress_model(model, tmp_path / "b.armlet", recipe=tmp_path / "r.toml")
    assert (tmp_path / "a.armlet").read_bytes() == (tmp_path / "b.armlet").read_bytes()
    assert first.outputs == again.outputs


def test_what_ruins_the_answers_is_done_and_said_in_red(model: Path, tmp_path: Path, capsys) -> None:
    made = sdk.compress_model(model, tmp_path / "out.armlet", sparsity=0.97, clusters=4)
    assert made.outputs is not None
    assert made.outputs.changed
    (told,) = (part for part in drawn(made).renderables if "dB" in str(part))
    assert "the answers change" in str(told)
    assert "red" in str(told.style)
    options = ["--sparsity", "0.97", "--clusters", "4", "--json"]
    assert main(["compress", str(model), "-o", str(tmp_path / "out.armlet"), *options]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"]["decibel"] < 20


def test_a_model_that_crashes_in_an_inference_is_compressed_and_the_reason_said(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crashes(HostModel):
        def run_real(self, arrays: object, *, reset: bool = False) -> dict[str, np.ndarray]:
            os.kill(self._process.pid, signal.SIGABRT)
            return super().run_real(arrays, reset=reset)

    monkeypatch.setattr(outputs_kept, "HostModel", Crashes)
    made = sdk.compress_model(model, tmp_path / "out.armlet")
    assert made.outputs is None
    assert any("not measured" in note and "SIGABRT" in note for note in made.notes)


def test_a_model_that_the_host_cannot_run_is_compressed_all_the_same(
    model: Path, tmp_path: Path, monkeypatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeFailed("the TFLite runtime crashes while it loads the model", found="signal SIGSEGV")

    monkeypatch.setattr(outputs_kept, "HostModel", crash)
    made = sdk.compress_model(model, tmp_path / "out.armlet")
    assert made.outputs is None
    assert made.ratio > 2
    assert any("crashes" in note for note in made.notes)


def test_class_numbers_are_judged_by_the_scores_they_are_chosen_by() -> None:
    graph = small_network(channels=32)
    assert before_choice(graph) is graph
    chosen = before_choice(naming_its_class(graph))
    assert [chosen.tensors[number].name for number in chosen.outputs] == ["scores"]
    assert read_graph(write_graph(chosen)).outputs


def test_a_graph_of_other_weights_answers_as_its_file_does() -> None:
    graph = small_network(channels=32)
    weight = next(graph.weights())
    other = graph.with_data({weight.tensor_index: weight.array * np.float32(1.5)})
    with OutputsOf(graph, None) as outputs:
        assert outputs.answers()
        assert outputs.noise(graph) == 0
        patched = outputs.noise(other)
        # Another tuple of operators is another graph: its file is written.
        written = outputs.noise(replace(other, operators=other.operators[:1] + other.operators[1:]))
        assert written == patched > 0


def test_two_scores_that_are_equal_are_the_same_answer() -> None:
    graph = small_network(channels=32)
    weight = list(graph.weights())[-1]
    assert weight.tensor.shape[0] > 2
    twice, low = weight.array.copy(), weight.array.copy()
    twice[1] = twice[0]
    with OutputsOf(graph.with_data({weight.tensor_index: twice}), None) as outputs:
        assert outputs.answers()
        nearly = twice.copy()
        nearly[1] *= np.float32(1.0001)
        assert outputs.other_answers(graph.with_data({weight.tensor_index: nearly})) == 0
        low[:] = -twice
        assert outputs.other_answers(graph.with_data({weight.tensor_index: low})) > 0.5
        told = outputs.kept(graph.with_data({weight.tensor_index: low}))
        assert told is not None
        assert told.changed


def test_outputs_that_are_not_numbers_tell_nothing_and_that_is_said() -> None:
    graph = small_network(channels=32)
    weights = list(graph.weights())
    nothing = graph.with_data({weights[-1].tensor_index: np.full_like(weights[-1].array, np.nan)})
    with OutputsOf(nothing, None) as outputs:
        assert not outputs.answers()
        assert outputs.kept(nothing) is None
        assert any("not numbers" in note for note in outputs.notes)


def test_scores_with_a_hole_name_no_class() -> None:
    graph = small_network(channels=32)
    last = list(graph.weights())[-1]
    holed, other = last.array.copy(), last.array.copy()
    holed[0] = other[0] = np.nan
    other[1:] = -holed[1:]
    with OutputsOf(graph.with_data({last.tensor_index: holed}), None) as outputs:
        assert outputs.answers()
        assert outputs.other_answers(graph.with_data({last.tensor_index: other})) == 0


def test_what_is_told_was_measured_on_inputs_that_nothing_was_chosen_on() -> None:
    graph = small_network(channels=32)
    weight = next(graph.weights())
    other = graph.with_data({weight.tensor_index: weight.array * np.float32(1.1)})
    with OutputsOf(graph, None) as outputs:
        assert outputs.answers()
        told = outputs.kept(other)
        assert told is not None
        assert told.cases == outputs_kept.OTHERS
        noises = {outputs.noise(other), outputs.unseen(other), 10 ** (-told.decibel / 10)}
        assert len(noises) == 3
        assert max(noises) < 4 * min(noises)
