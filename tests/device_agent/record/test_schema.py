"""Records are read from their annotations: what they wrote comes back, anything else is one error with a name."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agent.errors import AgentError, ArmletError, DataError
from device_agent.record.kinds import Many, Named, Number, TableKind, Text, ValueRefused
from device_agent.record.named_kinds import Seconds, Sha256, Size, Threads
from device_agent.record.schema import canonical, find_object, limits, parse_json, read, record, write
from device_agent.record.visible import first_of, visible

Stages = Many(Named((("stage", Text()), ("bytes", Size))), most=4)
Ranks = TableKind(Text(), Size, as_pairs=True)


@dataclass(frozen=True)
class Step:
    name: str
    seconds: Seconds
    delegated: bool = True


@record(
    "armlet.test/2",
    "a test",
    AgentError,
    earlier={"armlet.test/1": {"threads": 1}},
    derived=("ratio",),
    may_lack=("note",),
    left_out=("signature",),
)
@dataclass(frozen=True)
class Everything:
    name: str
    threads: Threads
    before: Size
    after: Size
    samples: tuple[float, ...]
    shape: tuple[int, int]
    method: Literal["one", "two"]
    digest: Sha256 | None
    steps: tuple[Step, ...] = field(default=(), metadata=limits(most=3))
    by_name: Mapping[str, Step] = field(default_factory=dict)
    runs: dict[str, tuple[float, ...]] | None = None
    stages: Stages = ()
    ranks: Ranks = ()
    anything: Any = None
    note: str = "none"
    signature: Sha256 | None = None

    @property
    def ratio(self) -> float:
        return self.before / self.after

    def check_record(self) -> None:
        if self.name == "forbidden":
            raise ValueRefused("another name", "this one").at("name")


def everything(**changes: Any) -> Everything:
    made = Everything(
        name="net",
        threads=2,
        before=9,
        after=3,
        samples=(0.5, 1.0),
        shape=(3, 4),
        method="one",
        digest="a" * 64,
        steps=(Step("conv", 0.1), Step("pad", 0.0, False)),
        by_name={"x": Step("x", 1.0)},
        runs={"a": (1.0,)},
        stages=(("pruned", 7),),
        ranks=(("fc", 3),),
        anything={"deep": [1, None]},
    )
    return dataclasses.replace(made, **changes)


def test_what_was_written_is_read_again_through_json() -> None:
    for made in (everything(), everything(digest=None, runs=None, signature="b" * 64, note="word")):
        assert read(Everything, parse_json(json.dumps(write(made)).encode())) == made


def test_keys_stand_in_the_order_of_the_fields_and_the_derived_ones_behind_them() -> None:
    names = [f.name for f in dataclasses.fields(Everything) if f.name != "signature"]
    assert list(write(everything())) == ["schema", *names, "ratio"]
    assert write(everything())["stages"] == [{"stage": "pruned", "bytes": 7}]
    assert write(everything())["ranks"] == {"fc": 3}
    assert list(write(everything(signature="b" * 64)))[-2:] == ["signature", "ratio"]


def test_another_order_of_keys_can_be_asked_for() -> None:
    @record("armlet.pair/1", derived=("both",), order=("b", "both", "a"))
    @dataclass(frozen=True)
    class Pair:
        a: int
        b: int

        @property
        def both(self) -> int:
            return self.a + self.b

    assert list(write(Pair(1, 2))) == ["schema", "b", "both", "a"]
    assert canonical(Pair(1, 2)) == b'{"a":1,"b":2,"both":3,"schema":"armlet.pair/1"}'


def test_a_record_of_an_earlier_schema_gets_what_it_lacks() -> None:
    old = {**write(everything()), "schema": "armlet.test/1"}
    del old["threads"]
    assert read(Everything, old).threads == 1
    with pytest.raises(AgentError, match="lacks a field; expected threads"):
        read(Everything, {**old, "schema": "armlet.test/2"})


HOSTILE: list[tuple[str, Any]] = [
    ("name", 7),
    ("name", "\x1b]0;pwned\x07"),
    ("name", "\u202etxt.exe"),
    ("name", "x" * 257),
    ("name", "forbidden"),
    ("threads", 0),
    ("threads", 3.0),
    ("threads", True),
    ("threads", "2"),
    ("threads", 10**30),
    ("threads", int("9" * 4000)),
    ("before", -1),
    ("before", 1 << 62),
    ("samples", {"0": 1.0}),
    ("samples", [math.nan]),
    ("samples", [1.0, math.nan, 2.0]),
    ("samples", [math.inf]),
    ("samples", [math.inf, -math.inf]),
    ("samples", [1e300]),
    ("samples", [10**400]),
    ("samples", [0.1, None]),
    ("samples", [0.1, True]),
    ("samples", [[0.1]]),
    ("samples", [0.0] * 1_000_000),
    ("shape", [1]),
    ("shape", [1, 2, 3]),
    ("shape", [1, -2]),
    ("method", "three"),
    ("method", ["one"]),
    ("digest", "A" * 64),
    ("digest", "a" * 63 + "\n"),
    ("steps", [{"name": "x"}]),
    ("steps", [{"name": "x", "seconds": 1.0, "delegated": "false"}]),
    ("steps", [{"name": "x", "seconds": 1.0, "delegated": True, "more": 1}]),
    ("steps", [{"name": "x", "seconds": 0.0, "delegated": False}] * 4),
    ("by_name", {"x": 1}),
    ("by_name", {"\x1b[2J": {"name": "x", "seconds": 1.0, "delegated": True}}),
    ("by_name", []),
    ("stages", [["pruned", 7]]),
    ("stages", [{"stage": "pruned", "bytes": 0}]),
    ("ranks", {"fc": 3.9}),
    ("ratio", 4.0),
    ("ratio", None),
    ("ratio", "3.0"),
]


@pytest.mark.parametrize(("name", "value"), HOSTILE, ids=[f"{n}-{i}" for i, (n, _) in enumerate(HOSTILE)])
def test_a_hostile_value_is_one_short_printable_error_that_names_its_field(name: str, value: Any) -> None:
    with pytest.raises(AgentError) as caught:
        read(Everything, {**write(everything()), name: value})
    assert name in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_the_way_to_a_value_within_others_is_told() -> None:
    document = write(everything())
    document["steps"][1]["seconds"] = -1.0
    with pytest.raises(AgentError) as caught:
        read(Everything, document)
    assert str(caught.value) == (
        "the field steps[1].seconds of a test is not acceptable; expected a number from 0 to 86400; found -1.0"
    )
    with pytest.raises(DataError, match=r"the field samples\[2\] of that run"):
        read(
            Everything, {**write(everything()), "samples": [0.0, 1.0, "2"]}, what="that run", error=DataError
        )


def test_every_field_is_required_but_those_that_may_lack_and_no_other_is_taken() -> None:
    whole = write(everything())
    for name in whole:
        lacking = {key: value for key, value in whole.items() if key != name}
        if name in ("note", "ratio"):
            assert read(Everything, lacking) == everything()
        else:
            with pytest.raises(
                AgentError, match="this is not a test" if name == "schema" else f"expected {name};"
            ):
                read(Everything, lacking)
    with pytest.raises(AgentError, match=r"unknown fields; .*; found latency"):
        read(Everything, {**whole, "latency": 1})


@pytest.mark.parametrize(
    "value", [None, [], "record", 3, {}, {"schema": "armlet.other/1"}, {"schema": ["a"]}]
)
def test_what_is_no_record_is_refused(value: Any) -> None:
    with pytest.raises(AgentError, match="a test"):
        read(Everything, value)


def test_a_record_of_a_newer_schema_is_told_apart_from_something_else() -> None:
    with pytest.raises(
        AgentError, match=r"a schema of a version that is not read here; expected armlet.test/2; found .*/9"
    ):
        read(Everything, {"schema": "armlet.test/9"})
    with pytest.raises(AgentError, match=r"this is not a test; expected armlet.test/2; found armlet.other/1"):
        read(Everything, {"schema": "armlet.other/1"})


def test_an_annotation_that_no_record_can_have_is_a_mistake_of_the_program() -> None:
    @dataclass(frozen=True)
    class Odd:
        field: set[int] | bytes

    with pytest.raises(TypeError, match=r"Odd\.field"):
        read(Odd, {})


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", ""),
        (b"{", ""),
        (b"\xff\xfe\x00", ""),
        (b"[" * 100_000, "too deep"),
        (b'{"a": NaN}', "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"9" * 5000, "5000 digits"),
        (b"-" + b"9" * 900_000, "900001 digits"),
    ],
)
def test_what_is_no_json_is_one_error(data: bytes, found: str) -> None:
    with pytest.raises(DataError, match="this is not JSON") as caught:
        parse_json(data)
    assert found in str(caught.value)


def test_a_document_that_is_too_large_is_not_parsed() -> None:
    with pytest.raises(AgentError, match="a list is too large; expected at most 10 bytes; found 12 bytes"):
        parse_json(b"[1, 2, 3, 4]", what="a list", error=AgentError, most=10)


def outcome(call: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """The refusal, or what the call gives."""
    try:
        return None, call(*arguments)
    except (ArmletError, ValueRefused) as error:
        return error, None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from([*write(everything()), "signature", "more"]), JSON, max_size=4),
    st.sets(st.sampled_from([*write(everything())]), max_size=2),
)
def test_whatever_json_arrives_there_is_a_record_that_reads_back_or_the_one_error(
    changes: dict[str, Any], left_out: set[str]
) -> None:
    document = {
        key: value for key, value in {**write(everything()), **changes}.items() if key not in left_out
    }
    error, made = outcome(read, Everything, document)
    assert error is None or (type(error) is AgentError and str(error) == visible(error))
    assert error is not None or read(Everything, json.loads(json.dumps(write(made)))) == made


@given(st.lists(st.floats() | st.integers() | st.sampled_from([True, None, "1", 10**400]), max_size=8))
def test_a_list_of_numbers_is_read_as_one_by_one(values: list[Any]) -> None:
    for kind in (
        Number(),
        Number(0.0, 1.0),
        Number(0.0, low_excluded=True),
        Number(0.0, 1.0, high_excluded=True),
    ):
        alone = [outcome(kind.read, value) for value in values]
        refused, numbers = outcome(kind.read_many, values)
        wrong = next((number for number, (error, _) in enumerate(alone) if error is not None), None)
        if wrong is None:
            assert numbers == tuple(number for _, number in alone)
        else:
            assert (refused.path, refused.found) == ([wrong], alone[wrong][0].found)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b'{"a": 1}\n', {"a": 1}),
        (b'Welcome\n{"not": "this"}\nmore\n{"a": 1}\nBye\n', {"a": 1}),
        (b'{\n"a": 1\n}\n', {"a": 1}),
        (b'{"a": NaN}\n', None),
        (b"[1]\n", None),
        (b"", None),
        (b"\xff\xfe{\n{ {\n", None),
    ],
)
def test_an_answer_is_found_among_what_else_is_printed(said, found):
    assert find_object(said, most=1000) == found


def test_a_long_list_of_names_tells_its_first_ones_and_how_many_more() -> None:
    assert first_of(["a", "b"], 2) == "a, b"
    assert first_of(iter(range(5)), 3) == "0, 1, 2 and 2 more"
    assert first_of([], 3) == ""
