"""Errors of the host side; all of them are :class:`device_agent.errors.ArmletError`.

ModelError              the model file is missing, broken or of a kind that is not read
├── UnsupportedOperator the graph holds something that this stage cannot carry; it is named
├── NothingToCompress   no layer of the model can be compressed
├── RuntimeFailed       the host's TFLite runtime crashed, hung or ran out of memory on the model
BoardError              the board is unknown or its file is wrong
InventoryError          the list of a fleet's boards is wrong
RolloutError            a rollout cannot begin
ConnectionFailed        the host cannot be reached, or its key or ours is refused
RemoteError             the board answered, and the answer was an error or not acceptable
├── HealthCheckFailed   the board tried a release, which does not run there as on the host
ProvisionError          runtime, kernel or agent could not be made ready for the board
ReportError             a report cannot be made

DataError, PackageError and SignatureError are raised on the board too.
"""

from __future__ import annotations

from device_agent.errors import ArmletError, DataError, PackageError, SignatureError


class ModelError(ArmletError):
    """The model file is missing, broken or of a kind that is not read."""


class UnsupportedOperator(ModelError):
    """The graph holds an operator, a type or a feature that this stage cannot carry."""


class NothingToCompress(ModelError):
    """No layer of the model can be compressed: a package of it would be what `sdk pack` writes."""

    exit_status = 1


class RuntimeFailed(ModelError):
    """The host's TFLite runtime crashed, took too long or ran out of memory on the model."""


class BoardError(ArmletError):
    """The board is unknown or its file is wrong."""


class InventoryError(ArmletError):
    """The list of a fleet's boards is wrong."""


class RolloutError(ArmletError):
    """A rollout cannot begin: another one runs, or what it would deploy is not acceptable."""


class ConnectionFailed(ArmletError):
    """The host cannot be reached, or its key or ours is refused."""


class RemoteError(ArmletError):
    """The board answered, and the answer was an error or not acceptable."""


class HealthCheckFailed(RemoteError):
    """The board tried a release, and its outputs did not come out, or its runtime did not run it."""


class ProvisionError(ArmletError):
    """Runtime, kernel or agent could not be made ready for the board."""


class ReportError(ArmletError):
    """A report cannot be made."""


__all__ = [
    "ArmletError",
    "BoardError",
    "ConnectionFailed",
    "DataError",
    "HealthCheckFailed",
    "InventoryError",
    "ModelError",
    "NothingToCompress",
    "PackageError",
    "ProvisionError",
    "RemoteError",
    "ReportError",
    "RolloutError",
    "RuntimeFailed",
    "SignatureError",
    "UnsupportedOperator",
]
