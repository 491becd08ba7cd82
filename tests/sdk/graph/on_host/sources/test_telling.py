"""Of what a converter says, a person gets the operators or the line that tells the cause; the rest is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdk.graph.on_host.sources.telling import cause_of, conversion_failed

TENSORFLOW = """<unknown>:0: error: loc("Foo"("f")): 'tf.Foo' op is neither a custom op nor a flex op
<unknown>:0: note: loc(fused["Bar"]): Error code: ERROR_NEEDS_CUSTOM_OPS
<unknown>:0: error: failed while converting: 'main': Some ops in the model are custom ops
Custom ops: Foo, Bar
Details:"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (TENSORFLOW, "operators Foo, Bar, which TFLite does not have"),
        ("<unknown>:0: error: 'tfl.add' op is odd\nmore", "'tfl.add' op is odd"),
        ("failed to legalize operation 'stablehlo.fft'", "operator stablehlo.fft"),
        ("Traceback (most recent call last):\n  File x\n  x\nValueError: the shape is wrong", "the shape is wrong"),
        ("plain words\nsecond line", "plain words"),
        ("\x1b[31mred\x1b[0m words", "red words"),
        ("", "no reason given"),
    ],
)  # fmt: skip
def test_the_cause_is_told(said: str, told: str) -> None:
    assert cause_of(said).startswith(told)


def test_the_whole_text_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    error = conversion_failed("some/model.keras", "it failed", ValueError("cause\nsecond"), hint="Do this.")
    kept = tmp_path / "armlet" / "conversions" / "model.keras.txt"
    assert str(kept) in str(error)
    assert error.found == "cause"
    assert "second" in kept.read_text()
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert conversion_failed("m", "it failed", ValueError("x"), hint="Do this.").hint == "Do this."
