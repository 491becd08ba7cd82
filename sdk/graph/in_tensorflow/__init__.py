"""A graph as a differentiable TensorFlow function, operator by operator; TensorFlow is imported when one first runs.

Pure. May import: sdk.errors, sdk.graph.
"""
