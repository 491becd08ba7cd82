"""Inputs that a model could meet, made up from what its file says of it.

Pure. May import: device_agent.record, device_agent.tensors, sdk.graph.
"""
