"""The prepared text is one thing in Python and in C, and part of the format: it never changes."""

from __future__ import annotations

import hashlib

from device_agent.package.codec.prepared import PREPARED_END, PREPARED_SIZE, PREPARED_STREAM
from sdk.package.lz_encode import prepared_text
from tests.golden import make_prepared


def test_the_text_is_what_it_always_was() -> None:
    text = prepared_text()
    assert len(text) == PREPARED_SIZE
    assert len(text) % 16 == 0  # positions mean what they do without it
    assert b"StatefulPartitionedCall:0" in text
    assert (
        hashlib.sha256(text).hexdigest() == "82ea0eb4c8b7b35be3bd73898b56c05910f6d8656c54cd8337e4d3e7800ae574"
    )


def test_python_and_c_have_the_same_stream() -> None:
    assert make_prepared.PYTHON.read_text() == make_prepared.python_source(
        PREPARED_SIZE, PREPARED_STREAM, PREPARED_END
    )
    assert make_prepared.C.read_text() == make_prepared.c_source(PREPARED_SIZE, PREPARED_STREAM)
