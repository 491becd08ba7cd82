"""The part of Armlet that lives on the board: standard library, numpy and a TFLite runtime, nothing else."""

__version__ = "0.1.0"
