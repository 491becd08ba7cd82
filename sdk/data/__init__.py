"""Samples on disk into arrays for a network: folders of pictures and ``.npz`` files as people have them.

May import: device_agent.answers, device_agent.image, device_agent.record, sdk.data.meaning, sdk.data.scoring,
sdk.errors, sdk.graph, sdk.graph.on_host.
"""
