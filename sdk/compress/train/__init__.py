"""Steps that need gradients: a student network with masks, shared centroids and a price of bits.

Pure. May import: sdk.compress, sdk.compress.rewrite, sdk.compress.weights, sdk.errors, sdk.graph,
sdk.graph.in_tensorflow, sdk.tools.
"""
