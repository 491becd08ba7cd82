""".tflite bytes to .armlet bytes and what can be said of them: packing, coding, inspection, differences, releases.

Pure. May import: device_agent.package.codec, sdk.errors, sdk.graph.
"""
