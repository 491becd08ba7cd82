"""Models and pictures of this machine: converted from Keras and SavedModel, resized, run by the interpreter, loaded
from folders.

May import: device_agent.record, device_agent.tensors, sdk.errors, sdk.graph, sdk.tools.system.
"""
