"""From a model's outputs to an answer of its kind: classes, boxes, a map of classes, points.

Pure. May import: device_agent.errors, device_agent.image, device_agent.record.
"""
