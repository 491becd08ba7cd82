"""Milliseconds with no board: a runtime's inference on an emulated core, replayed through the cores of boards.

May import: sdk.board.description, sdk.errors, sdk.explain.speed, sdk.tools.
"""
