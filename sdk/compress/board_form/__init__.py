"""Exact graphs for the kernels of a board: mirrored, lowered, without shuffles, on the sparse path.

Pure. May import: sdk.board.description, sdk.compress.rewrite, sdk.compress.weights, sdk.errors, sdk.graph.
"""
