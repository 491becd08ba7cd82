"""Numbers of schema.fbs, where they are needed without its generated classes; a test holds them against these."""

from __future__ import annotations

#: Enum TensorType: a type's number is its place.
TENSOR_TYPES = (
    "FLOAT32",
    "FLOAT16",
    "INT32",
    "UINT8",
    "INT64",
    "STRING",
    "BOOL",
    "INT16",
    "COMPLEX64",
    "INT8",
    "FLOAT64",
    "COMPLEX128",
    "UINT64",
    "RESOURCE",
    "VARIANT",
    "UINT32",
    "UINT16",
    "INT4",
    "BFLOAT16",
)
#: Enum Padding.
SAME, VALID = range(2)
#: Enum ActivationFunctionType.
NO_ACTIVATION, RELU, RELU_N1_TO_1, RELU6, TANH = range(5)
#: Enum DimensionType.
DENSE, SPARSE_CSR = range(2)
#: Union SparseIndexVector.
INT32_VECTOR = 1
