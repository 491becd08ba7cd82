"""Steps that need images and no gradients: layers solved one by one, ranges of 8-bit values, made-up images.

Pure. May import: device_agent.record, sdk.compress.rewrite, sdk.compress.weights, sdk.errors, sdk.graph,
sdk.graph.in_tensorflow, sdk.graph.made_up, sdk.tools.
"""
