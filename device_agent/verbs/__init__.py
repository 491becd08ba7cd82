"""The verbs of the agent, a function for each, and their options.

May import: device_agent, device_agent.errors, device_agent.measuring, device_agent.package, device_agent.record,
device_agent.run, device_agent.run.kernels, device_agent.serve, device_agent.store, device_agent.tensors.
"""
