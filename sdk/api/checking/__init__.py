"""Compares a compressed model with its original, on images and on made-up inputs.

May import: device_agent.package, device_agent.record, device_agent.tensors, sdk.api, sdk.compress.recipes,
sdk.compress.weights, sdk.data.scoring, sdk.errors, sdk.explain, sdk.graph, sdk.graph.in_tensorflow, sdk.graph.made_up,
sdk.graph.on_host, sdk.tools.
"""
