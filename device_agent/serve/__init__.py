"""Answers programs in any language over a socket: supervision, queue, HTTP, systemd.

May import: device_agent, device_agent.errors, device_agent.image, device_agent.record, device_agent.run,
device_agent.run.kernels, device_agent.store, device_agent.tensors.
"""
