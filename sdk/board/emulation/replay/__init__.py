"""A replay of what an emulated core executes through the cores and memories of boards: their data, and the C program.

May import: sdk.errors.
"""
