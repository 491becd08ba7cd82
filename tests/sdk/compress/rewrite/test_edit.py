"""Structural edits keep the graph whole: what is not touched stays, what nobody reads goes."""

from __future__ import annotations

import numpy as np

from sdk.compress.rewrite.edit import Editor
from sdk.graph.reader import read_graph
from sdk.graph.records import Operator
from sdk.graph.writer import write_graph
from tests.sdk.compress.layered_graphs import Layers, assert_answers_alike, kinds, small_mobilenet
from tests.sdk.graph.small_graphs import small_network


def test_an_editor_that_edits_nothing_gives_the_same_model() -> None:
    graph = small_network()
    assert write_graph(Editor(graph).graph()) == write_graph(graph)


def test_operators_and_tensors_that_lead_to_no_output_are_dropped() -> None:
    net = Layers(1, 8, 8, 3)
    kept = net.conv(net.image, 8)
    net.conv(net.image, 16)  # read by nobody
    graph = Editor(net.graph(net.mean(kept))).graph()
    assert kinds(graph) == ["CONV_2D", "MEAN"]
    assert {t for op in graph.operators for t in (*op.inputs, *op.outputs)} | {*graph.inputs} == set(
        range(len(graph.tensors))
    )


def test_redirected_readers_include_the_outputs_and_their_signature() -> None:
    graph = small_network()
    editor = Editor(graph)
    doubled = editor.value("doubled", (1, 10))
    scores = graph.outputs[0]
    editor.redirect(scores, doubled)
    last = len(graph.operators) - 1
    options = {"fusedActivationFunction": 0}
    editor.replace(
        last, [*editor.slot(last), Operator("ADD", (scores, scores), (doubled,), options, "AddOptions")]
    )
    edited = read_graph(write_graph(editor.graph()))
    assert edited.tensors[edited.outputs[0]].name == "doubled"
    assert edited.signatures[0].outputs == (("scores", edited.outputs[0]),)
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    from tests.sdk.graph.small_graphs import interpret

    np.testing.assert_allclose(
        interpret(write_graph(edited), image), 2 * interpret(write_graph(graph), image), rtol=1e-6
    )


def test_new_tensors_get_names_of_their_own() -> None:
    editor = Editor(small_mobilenet())
    first, second = editor.value("extra", (1,)), editor.value("extra", (1,))
    assert editor.tensors[first].name != editor.tensors[second].name


def test_an_edit_leaves_the_original_as_it_was() -> None:
    graph = small_mobilenet()
    before = write_graph(graph)
    editor = Editor(graph)
    editor.replace(0, [graph.operators[0].with_options(fusedActivationFunction=0)])
    editor.graph()
    assert write_graph(graph) == before
    assert_answers_alike(graph, graph)
