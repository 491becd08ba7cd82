"""A model as records: read, written, cut into operators, and executed by TensorFlow so that it can learn.

Pure. May import: device_agent.record, sdk.errors, sdk.graph.embedded.
"""
