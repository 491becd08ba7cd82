"""How right the answers of a model are, by its task, how sure that is, and whether another model is worse.

Pure. May import: device_agent.answers, device_agent.image, device_agent.record, device_agent.tensors,
sdk.data.meaning, sdk.errors, sdk.graph.
"""
