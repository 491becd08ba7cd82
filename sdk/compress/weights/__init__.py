"""One array of weights to another: chosen, pruned, clustered, in blocks.

Pure. May import: sdk.errors, sdk.graph.
"""
