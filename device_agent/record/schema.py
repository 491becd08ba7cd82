"""Records that travel or are kept, read and written from the annotations of their dataclasses. Pure.

    @record("armlet.calibration/1", "a calibration", DataError)
    @dataclass(frozen=True)
    class Calibration:
        threads: Threads
        flop_per_second: Rate
        frequency_hz: Hertz | None = None

:func:`read` makes a record of a parsed JSON value from anywhere. A field that is missing, unknown, of another type or
outside its limits is refused by its name (``models[0].threads``), with one error of the class that the caller wants.
:func:`write` gives the JSON-ready dict back, its keys in the order of the fields.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence, TypeVar, cast

from device_agent.errors import ArmletError, DataError
from device_agent.record.annotations import kinds_of
from device_agent.record.kinds import Kind, ValueRefused, shown
from device_agent.record.visible import visible

#: A document of JSON has at most this many bytes, unless its reader says otherwise.
MAX_JSON_BYTES = 1 << 20
#: No whole number in a document has more digits. Reading more takes a time that grows with their square.
MAX_DIGITS = 400
_MANY_DIGITS = re.compile("[0-9]{%s}" % (MAX_DIGITS // 2))
_MANY_DIGIT_BYTES = re.compile(_MANY_DIGITS.pattern.encode())

T = TypeVar("T")
_SPEC = "__armlet_record__"


@dataclass(frozen=True)
class Spec:
    """How a dataclass is written down, beyond its annotations: the arguments of :func:`record`."""

    schema: str | None = None
    what: str = "a record"
    error: type[ArmletError] = DataError
    earlier: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    derived: tuple[str, ...] = ()
    may_lack: tuple[str, ...] | bool = False
    left_out: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    takes_unknown: bool = False


def record(
    schema: str | None = None,
    what: str = "a record",
    error: type[ArmletError] = DataError,
    *,
    earlier: Mapping[str, Mapping[str, Any]] | None = None,
    derived: Sequence[str] = (),
    may_lack: Sequence[str] | bool = False,
    left_out: Sequence[str] = (),
    order: Sequence[str] = (),
    takes_unknown: bool = False,
) -> Callable[[type[T]], type[T]]:
    """Says of a dataclass how it is written down. One that is only held by others needs no ``schema``, or none of this.

    ``what`` is its name with the article, for messages; ``error`` is their class. ``earlier``: schemas that are still
    read, and the values that they lack. ``derived``: properties that are written behind the fields, and are compared
    where they are read. ``may_lack``: fields that take their default where they are missing; True stands for all that
    have one. ``left_out``: fields that are not written while they are None. ``order``: of the keys, fields and derived
    ones; by default that of the fields. ``takes_unknown``: unknown fields, such as those of a newer writer, are passed
    over. A method ``check_record`` is called after reading and raises :class:`ValueRefused`.
    """

    def describe(cls: type[T]) -> type[T]:
        lacking = may_lack if isinstance(may_lack, bool) else tuple(may_lack)
        spec = Spec(
            schema,
            what,
            error,
            dict(earlier or {}),
            tuple(derived),
            lacking,
            tuple(left_out),
            tuple(order),
            takes_unknown,
        )
        setattr(cls, _SPEC, spec)
        return cls

    return describe


def family(schema: Any) -> str:
    """``armlet.report`` of ``armlet.report/1``: what a record is, whatever its version; "" for what is not a schema."""
    return schema.partition("/")[0] if isinstance(schema, str) else ""


def limits(**limited: Any) -> Mapping[str, Any]:
    """Metadata of a field whose value has other limits than its kind: ``field(metadata=limits(most=16))``."""
    return {"limits": limited}


def read(cls: type[T], value: Any, *, what: str | None = None, error: type[ArmletError] | None = None) -> T:
    """The record that a parsed JSON value holds. Raises ``error``, or the record's own, for anything else."""
    kind = record_kind(cls)
    try:
        return cast(T, kind.read(value))
    except ValueRefused as refused:
        raise as_error(refused, what or kind.spec.what, error or kind.spec.error) from None


def write(value: Any) -> dict[str, Any]:
    """A record as a JSON-ready dict; the schema comes first."""
    return record_kind(type(value)).write(value)


def canonical(value: Any) -> bytes:
    """A record as JSON that depends on its values alone: keys sorted, nothing between them."""
    return json.dumps(write(value), sort_keys=True, separators=(",", ":")).encode()


def find_object(data: bytes, *, most: int) -> dict[str, Any] | None:
    """The JSON object in an answer: all of it, else the last line that is one, among whatever else was printed.

    None where there is none.
    """
    for text in (data, *reversed(data.splitlines())):
        if text.strip()[:1] != b"{":
            continue
        try:
            found = parse_json(text, most=most)
        except DataError:
            continue
        if isinstance(found, dict):
            return found
    return None


def parse_json(
    data: bytes | str,
    *,
    what: str = "this",
    error: type[ArmletError] = DataError,
    expected: str | None = None,
    hint: str | None = None,
    most: int = MAX_JSON_BYTES,
) -> Any:
    """The value of a document of JSON. Raises ``error`` for what is none, too large, too deep, or no JSON but in
    Python: NaN, and numbers of more than 400 digits, which take longer to read the longer they are."""
    if len(data) > most:
        raise error(f"{what} is too large", expected=f"at most {most} bytes", found=f"{len(data)} bytes")
    # Only where there is a long run of digits is each number looked at: a call for each takes its time.
    long = _MANY_DIGITS.search(data) if isinstance(data, str) else _MANY_DIGIT_BYTES.search(data)
    real_number = None if long is None else _real_number
    try:
        return json.loads(data, parse_constant=_no_constant, parse_int=_whole_number, parse_float=real_number)
    except RecursionError:
        found = "values in values in values, too deep"
    except ValueError as wrong:
        found = str(wrong)[:200]
    raise error(
        f"{what} is not JSON", expected=expected or "a document of JSON", found=found, hint=hint
    ) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name}, which JSON does not have")


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _real_number(digits: str) -> float:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return float(digits)


def as_error(refused: ValueRefused, what: str, error: type[ArmletError]) -> ArmletError:
    """The error for a refusal in ``what``, such as "a measurement"."""
    place = dotted(refused.path)
    subject = f"the field {place} of {what}" if place else what
    if refused.problem == "missing":
        return error(f"{what} lacks a field", expected=place, found="nothing")
    if refused.problem == "unknown":
        return error(f"{what} has unknown fields", expected=refused.expected, found=place)
    if refused.problem == "version":
        return error(
            f"{subject} has a schema of a version that is not read here",
            expected=refused.expected,
            found=refused.found,
            hint="Read it with the version of Armlet that wrote it.",
        )
    if refused.problem == "object":
        words = f"{subject} is not an object"
    elif refused.problem == "schema":
        words = f"{subject} has a schema that is not read here" if place else f"this is not {what}"
    elif refused.problem == "derived":
        words = f"{subject} does not follow from the others"
    else:
        words = f"{subject} is not acceptable"
    return error(words, expected=refused.expected, found=refused.found)


def dotted(path: Sequence[str | int]) -> str:
    """``models[0].threads``: the way to a value, printable whatever the keys are."""
    text = ""
    for place in path:
        if isinstance(place, int):
            text += f"[{place}]"
        else:
            key = visible(place if len(place) <= 80 else place[:77] + "...")
            text += f".{key}" if text else key
    return text


def record_kind(cls: type) -> RecordKind:
    """The kind of a record, made once from its annotations."""
    kind = _KINDS.get(cls)
    if kind is None:
        spec = vars(cls).get(_SPEC) or Spec()
        fields = tuple(kinds_of(cls, record_kind).items())
        kind = _KINDS[cls] = RecordKind(cls, spec, fields, _names_that_may_lack(cls, spec))
    return kind


_KINDS: dict[type, RecordKind] = {}


@dataclass(frozen=True)
class RecordKind(Kind):
    """An object with the fields of a dataclass."""

    cls: type
    spec: Spec
    fields: tuple[tuple[str, Kind], ...]
    may_lack: frozenset[str]

    @property
    def expected(self) -> str:
        return "an object of " + ", ".join(name for name, _ in self.fields)[:200]

    def read(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueRefused("an object", shown(value), "object")
        if self.spec.schema is not None:
            value = self._of_this_schema(value)
        values = {}
        for name, kind in self.fields:
            if name in value:
                try:
                    values[name] = kind.read(value[name])
                except ValueRefused as refused:
                    raise refused.at(name) from None
            elif name not in self.may_lack:
                raise ValueRefused(kind.expected, "nothing", "missing").at(name)
        if not self.spec.takes_unknown and len(value) > len(values):
            self._refuse_unknown(value)
        made = self.cls(**values)
        for name in self.spec.derived:
            if name in value:
                _compare(made, name, value[name])
        check = getattr(made, "check_record", None)
        if check is not None:
            check()
        return made

    def write(self, value: Any) -> dict[str, Any]:
        spec = self.spec
        written: dict[str, Any] = {name: kind.write(getattr(value, name)) for name, kind in self.fields}
        for name in spec.derived:
            written[name] = getattr(value, name)
        for name in spec.left_out:
            if written[name] is None:
                del written[name]
        if spec.order:
            written = {name: written[name] for name in spec.order if name in written}
        return written if spec.schema is None else {"schema": spec.schema, **written}

    def _of_this_schema(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        found, schema = value.get("schema"), cast(str, self.spec.schema)
        if found == schema:
            return value
        if isinstance(found, str) and found in self.spec.earlier:
            return {**self.spec.earlier[found], **value}
        text = shown(found) if not isinstance(found, str) else ascii(found[:80])[1:-1]
        raise ValueRefused(schema, text, "version" if family(found) == family(schema) else "schema")

    def _refuse_unknown(self, value: Mapping[str, Any]) -> None:
        known = {name for name, _ in self.fields}.union(self.spec.derived)
        if self.spec.schema is not None:
            known.add("schema")
        unknown = [key for key in value if key not in known]
        if unknown:
            named = ", ".join(sorted(known - {"schema"}))
            raise ValueRefused(f"only {named}", shown(value[unknown[0]]), "unknown").at(str(unknown[0]))


@dataclass(frozen=True)
class Held(Kind):
    """A record within a kind that is put together by hand; its annotations are looked at when it is first read."""

    cls: type

    @property
    def expected(self) -> str:
        return record_kind(self.cls).expected

    def read(self, value: Any) -> Any:
        return record_kind(self.cls).read(value)

    def write(self, value: Any) -> Any:
        return record_kind(self.cls).write(value)


def _names_that_may_lack(cls: type, spec: Spec) -> frozenset[str]:
    with_default = {
        field.name
        for field in dataclasses.fields(cls)
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    }
    if isinstance(spec.may_lack, bool):
        return frozenset(with_default if spec.may_lack else with_default.intersection(spec.left_out))
    return frozenset(with_default.intersection((*spec.may_lack, *spec.left_out)))


def _compare(made: Any, name: str, found: Any) -> None:
    try:
        figure = getattr(made, name)
    except ArithmeticError:
        raise ValueRefused("figures that it can be computed from", shown(found), "derived").at(name) from None
    same = found == figure
    if not same and type(found) in (int, float) and isinstance(figure, (int, float)):
        same = abs(found) < 1e300 and math.isclose(found, figure, rel_tol=1e-9)
    if not same or isinstance(found, bool) != isinstance(figure, bool):
        raise ValueRefused(shown(figure), shown(found), "derived").at(name)
