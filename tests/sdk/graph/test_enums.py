"""The numbers that are written down are those of the schema."""

from __future__ import annotations

import pytest

from sdk.graph import enums
from sdk.graph.records import NUMPY_DTYPES
from sdk.graph.schema import enum_names, enum_values
from sdk.package.spans import ELEMENT_TYPES


def test_the_types_of_tensors_are_those_of_the_schema():
    known = enum_names("TensorType")
    assert {number: known[number] for number in range(len(enums.TENSOR_TYPES))} == dict(
        enumerate(enums.TENSOR_TYPES)
    )
    assert set(NUMPY_DTYPES) <= set(enums.TENSOR_TYPES)


@pytest.mark.parametrize(
    ("enum", "names"),
    [
        ("Padding", {"SAME": enums.SAME, "VALID": enums.VALID}),
        (
            "ActivationFunctionType",
            {
                "NONE": enums.NO_ACTIVATION,
                "RELU": enums.RELU,
                "RELU_N1_TO_1": enums.RELU_N1_TO_1,
                "RELU6": enums.RELU6,
                "TANH": enums.TANH,
            },
        ),
        ("DimensionType", {"DENSE": enums.DENSE, "SPARSE_CSR": enums.SPARSE_CSR}),
        ("SparseIndexVector", {"Int32Vector": enums.INT32_VECTOR}),
    ],
)
def test_the_numbers_are_those_of_the_schema(enum, names):
    values = enum_values(enum)
    assert {name: values[name] for name in names} == names


def test_the_packer_sees_elements_of_numpys_width_and_complex_numbers_in_two_parts():
    for number, name in enumerate(enums.TENSOR_TYPES):
        if name in NUMPY_DTYPES:
            seen, width = ELEMENT_TYPES[number]
            parts = 2 if name.startswith("COMPLEX") else 1
            assert (seen, width * parts) == (name.lower(), NUMPY_DTYPES[name].itemsize)
    assert ELEMENT_TYPES[5] == ("string", 1)
    assert (ELEMENT_TYPES[17], ELEMENT_TYPES[18]) == (("int4", 1), ("bfloat16", 2))
    assert not {13, 14} & set(ELEMENT_TYPES)
