"""The doors: what a file is, and what becomes a ``.tflite`` of Keras, SavedModel, PyTorch and ONNX.

May import: device_agent.record, sdk.errors, sdk.graph, sdk.graph.on_host, sdk.tools.system.
"""
