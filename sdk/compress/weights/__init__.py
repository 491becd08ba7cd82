"""One array of weights to another: chosen, pruned, clustered, in blocks.

Pure. May import: device_agent.record, sdk.errors, sdk.graph.
"""
