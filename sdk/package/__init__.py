""".tflite bytes to .armlet bytes and what can be said of them: packing, coding, inspection, differences, releases.

Pure. May import: device_agent.package.codec, device_agent.record, device_agent.tensors, sdk.errors, sdk.graph,
sdk.graph.embedded, sdk.tools.
"""
