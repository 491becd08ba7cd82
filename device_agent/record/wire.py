"""Messages on the wire: arrays in requests to ``serve``, predictions in answers, the error of a verb that failed.

Pure; the bytes are a stranger's.

docs/serve.md describes the protocol. A raw tensor is its values in C order, little-endian, without a header of its own.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from device_agent.errors import DataError
from device_agent.record.kinds import Words
from device_agent.record.schema import parse_json, record
from device_agent.record.visible import visible

if TYPE_CHECKING:
    import numpy as np  # late: most verbs need no array, and on a small board numpy takes half a second

#: Types of a raw tensor, all of them little-endian.
DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64")
#: Nested lists of numbers become some ten times as large in memory; raw tensors do not.
MAX_JSON_BYTES = 4 << 20
#: (n, height, width, channels), and one to spare for models that are none of images.
MAX_DIMENSIONS = 5
#: Inputs of one request: they run one after the other, and others wait meanwhile.
MAX_BATCH = 64
#: Scores of one answer.
MAX_TOP = 1000
MAX_TEXT = 200

if TYPE_CHECKING:
    Said = str
else:
    Said = Words(2000)

_FIELDS = ("image", "shape", "dtype", "preprocessed", "top")


@dataclass(frozen=True)
class Question:
    """A request: ``image`` is one array, or the bytes of an encoded image where ``encoded``."""

    image: Any
    encoded: bool = False
    preprocessed: bool = False
    top: int | None = None


@record(what="the answer of an agent", may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class Failure:
    """The answer of an agent when a verb failed, as :class:`device_agent.errors.ArmletError` has it.

    ``error`` is the name of its class.
    """

    error: Said | None = None
    what: Said | None = None
    expected: Said | None = None
    found: Said | None = None
    hint: Said | None = None


# -- requests -----------------------------------------------------------------------------------------------------


def tensor(body: Any, shape: str | None, dtype: str | None) -> np.ndarray:
    """The array in the bytes of ``body``, which it shares.

    ``shape`` "224,224,3" gives (224, 224, 3); ``dtype`` is one of the names that the API takes. Raises DataError.
    """
    return _as_tensor(body, _dimensions(shape), _dtype(dtype))


def question_of_json(body: Any) -> Question:
    """The question of a JSON body. Raises DataError."""
    fields = _object(body)
    top = fields.get("top")
    if top is not None and (type(top) is not int or not 1 <= top <= MAX_TOP):
        raise DataError("`top` is wrong", expected=f"a whole number from 1 to {MAX_TOP}", found=_short(top))
    preprocessed = fields.get("preprocessed", False)
    if type(preprocessed) is not bool:
        raise DataError("`preprocessed` is wrong", expected="true or false", found=_short(preprocessed))
    image, dtype, shape = fields["image"], fields.get("dtype"), fields.get("shape")
    if isinstance(image, str):
        try:
            raw = base64.b64decode(image, validate=True)
        except (binascii.Error, ValueError) as error:
            raise DataError("`image` is not base64", found=str(error)) from None
        if shape is None and dtype is None:
            return Question(raw, True, preprocessed, top)
        return Question(_as_tensor(raw, _listed_shape(shape), _dtype(dtype)), False, preprocessed, top)
    if not isinstance(image, list):
        raise DataError(
            "`image` is wrong", expected="nested lists of numbers, or text in base64", found=_short(image)
        )
    array = _nested(image, None if dtype is None else _dtype(dtype))
    if shape is not None and _listed_shape(shape) != array.shape:
        raise DataError(
            "`image` has another shape than `shape` says", expected=str(shape), found=str(list(array.shape))
        )
    return Question(array, False, preprocessed, top)


def _object(body: Any) -> Mapping[str, Any]:
    if len(body) > MAX_JSON_BYTES:
        raise DataError(
            "the JSON is too long",
            expected=f"at most {MAX_JSON_BYTES} bytes",
            found=f"{len(body)} bytes",
            hint="Send the array as application/octet-stream.",
        )
    fields = parse_json(bytes(body), what="the body", most=MAX_JSON_BYTES)
    if not isinstance(fields, dict) or "image" not in fields:
        raise DataError(
            "the body is not what is asked for", expected='an object with "image"', found=_short(fields)
        )
    unknown = [key for key in fields if key not in _FIELDS]
    if unknown:
        raise DataError("the body has unknown fields", expected=", ".join(_FIELDS), found=_short(unknown[0]))
    return fields


def _nested(image: list, dtype: Any) -> np.ndarray:
    """Nested lists as uint8 where all are whole numbers and no type is named, else as float32."""
    import numpy as np

    array = nested_array(image, "`image`", MAX_DIMENSIONS)
    if dtype is None:
        dtype = _dtype("float32" if array.dtype.kind == "f" else "uint8")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = (array.min(), array.max()) if array.size else (0, 0)
        if array.dtype.kind == "f" or low < limits.min or high > limits.max:
            raise DataError(
                "`image` does not fit its type",
                expected=f"whole numbers from {limits.min} to {limits.max} for {dtype.name}",
                found=f"numbers from {low} to {high}",
                hint='"dtype": "float32" takes any number.',
            )
    with np.errstate(over="ignore"):
        array = array.astype(dtype)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError("`image` does not fit its type", expected=f"numbers that {dtype.name} holds")
    return array


def nested_array(value: Any, what: str, most_dimensions: int) -> np.ndarray:
    """Nested lists of numbers, of a shape such as (224, 224, 3): int64 where all are whole, else float64.

    Raises DataError about ``what``. Every element's type and every list's length is checked before an array is made:
    one word among the numbers would make numpy reserve as many characters for each of them.
    """
    import numpy as np

    shape: list[int] = []
    level = [value]
    while isinstance(level[0] if level else None, list):
        if len(shape) == most_dimensions:
            raise DataError(
                f"{what} is too deep",
                expected=f"nested lists of numbers, at most {most_dimensions} deep",
                found="more",
            )
        shape.append(len(level[0]))
        _check_kinds(level, {list}, what)
        if set(map(len, level)) != {shape[-1]}:
            raise DataError(
                f"{what} is not one array",
                expected="lists of equal lengths",
                found=", ".join(map(str, sorted(set(map(len, level)))[:4])),
            )
        level = list(itertools.chain.from_iterable(level))
    whole = _check_kinds(level, {int, float}, what) == {int}
    for dtype in (np.int64, np.float64) if whole else (np.float64,):
        with contextlib.suppress(OverflowError):  # a whole number that this type does not hold
            return np.array(level, dtype).reshape(shape)
    raise DataError(f"{what} has a number that is too large", expected="a float64")


def _check_kinds(values: list, allowed: set[type], what: str) -> set[type]:
    """The types of all values. Raises DataError for others than ``allowed``."""
    found = set(map(type, values))
    if not found <= allowed:
        raise DataError(
            f"{what} is not an array of numbers",
            expected="lists of equal lengths of numbers",
            found=min(kind.__name__ for kind in found - allowed),
        )
    return found


def _dimensions(text: str | None) -> tuple[int, ...]:
    if text is None:
        raise DataError(
            "the shape of the tensor is missing",
            expected="a header such as `Tensor-Shape: 224,224,3`",
            found="none",
        )
    parts = [part.strip(" ") for part in text.split(",")]
    if len(parts) > MAX_DIMENSIONS or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise DataError(
            "the shape of the tensor is wrong",
            expected=f"1 to {MAX_DIMENSIONS} numbers such as 224,224,3",
            found=_short(text),
        )
    return tuple(int(part) for part in parts)


def _listed_shape(shape: Any) -> tuple[int, ...]:
    fits = isinstance(shape, list) and 1 <= len(shape) <= MAX_DIMENSIONS
    if not fits or not all(type(n) is int and 0 <= n < 10**9 for n in shape):
        raise DataError(
            "`shape` is wrong" if shape is not None else "`shape` is missing",
            expected=f"a list of 1 to {MAX_DIMENSIONS} numbers such as [224, 224, 3]",
            found=_short(shape),
        )
    return tuple(shape)


def _dtype(name: Any) -> Any:
    if not isinstance(name, str) or name not in DTYPES:
        raise DataError(
            "the type of the tensor is missing" if name is None else "the type of the tensor is unknown",
            expected=f"one of {', '.join(DTYPES)}",
            found=_short(name) if name is not None else "none",
        )
    import numpy as np

    return np.dtype(name).newbyteorder("<")


def _as_tensor(body: Any, shape: Sequence[int], dtype: Any) -> np.ndarray:
    import numpy as np

    wanted = math.prod(shape) * dtype.itemsize
    if wanted != len(body):
        raise DataError(
            "the tensor has another size than its shape and type say",
            expected=f"{wanted} bytes for {','.join(map(str, shape))} {dtype.name}",
            found=f"{len(body)} bytes",
        )
    return np.frombuffer(body, dtype).reshape(shape) if wanted else np.empty(shape, dtype)


# -- answers ------------------------------------------------------------------------------------------------------


def answer_as_json(predictions: Any, model: str) -> dict[str, Any]:
    """One prediction, or a list of them under "answers"."""
    if isinstance(predictions, list):
        release = predictions[0].release if predictions else None
        return {"model": model, "release": release, "answers": [finite(p.to_json()) for p in predictions]}
    return {"model": model, "release": predictions.release, **finite(predictions.to_json())}


def answer_as_tensor(predictions: Any, output: int) -> tuple[bytes, dict[str, str]]:
    """One output as bytes in little-endian float32, and the headers that describe it. Raises DataError."""
    import numpy as np

    several = isinstance(predictions, list)
    rows = predictions if several else [predictions]
    if not rows or not 0 <= output < len(rows[0].outputs):
        raise DataError(
            "there is no such output",
            expected=f"0 to {len(rows[0].outputs) - 1}" if rows else "a batch of 1 input or more",
            found=str(output) if rows else "an empty batch",
        )
    values = [np.asarray(row.outputs[output], "<f4") for row in rows]
    array = np.stack(values) if several else values[0]
    headers = {"Tensor-Shape": ",".join(map(str, array.shape)), "Tensor-Dtype": "float32"}
    if rows[0].release is not None:
        headers["Release"] = rows[0].release
    return array.tobytes(), headers


def finite(value: Any) -> Any:
    """A JSON-ready value, in which a number that is none (NaN, infinity) is None, wherever it stands."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_batch(array: np.ndarray, input_dimensions: int) -> None:
    """Refuses a batch (n, ...) of more than MAX_BATCH inputs of that many dimensions. Raises DataError."""
    if array.ndim == input_dimensions + 1 and len(array) > MAX_BATCH:
        raise DataError(
            "the batch is too large", expected=f"at most {MAX_BATCH} inputs", found=str(len(array))
        )


def _short(value: Any) -> str:
    text = (
        value
        if isinstance(value, str)
        else type(value).__name__
        if isinstance(value, (list, dict))
        else repr(value)
    )
    return visible(text, most=MAX_TEXT)
