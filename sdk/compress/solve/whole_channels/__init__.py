"""Whole channels: what each costs, which ones go, and what is left solved again.

Pure. May import: sdk.compress.rewrite, sdk.compress.solve, sdk.errors, sdk.graph, sdk.graph.in_tensorflow, sdk.tools.
"""
