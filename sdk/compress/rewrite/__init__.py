"""Graphs to graphs that compute the same, or nearly: edited, fused, equalised, without dead channels, of low rank.

Pure. May import: sdk.errors, sdk.graph.
"""
