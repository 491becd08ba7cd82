"""Models on this machine: run by the interpreter, given shapes; ``sources/`` makes them of what others write.

May import: device_agent.record, device_agent.tensors, sdk.errors, sdk.graph, sdk.tools.system.
"""
