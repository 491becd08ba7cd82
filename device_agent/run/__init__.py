"""A model in memory: runtimes, decoded models, the embedded Agent, and the state of the machine while they run.

May import: device_agent.answers, device_agent.errors, device_agent.image, device_agent.package, device_agent.record,
device_agent.run.kernels, device_agent.store, device_agent.tensors.
"""
