"""Puts passes together: recipes, targets of size and loss, budgets of time, the search over layers.

Pure. May import: device_agent.record, sdk.compress, sdk.compress.rewrite, sdk.compress.solve,
sdk.compress.solve.whole_channels, sdk.compress.train, sdk.compress.weights, sdk.data.scoring, sdk.errors, sdk.graph,
sdk.graph.in_tensorflow, sdk.package, sdk.tools.
"""
