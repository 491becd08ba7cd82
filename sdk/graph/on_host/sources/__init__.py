"""Model files of others: what kind a file is, and how Keras, SavedModel, PyTorch and ONNX become a ``.tflite``.

May import: device_agent.record, sdk.errors, sdk.graph, sdk.graph.on_host, sdk.tools.system.
"""
