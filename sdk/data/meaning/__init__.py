"""What data on disk mean: which folder is which class, what a file of labels says, what stored numbers are as pixels.

Pure. May import: device_agent.record, device_agent.tensors, sdk.errors, sdk.graph.
"""
