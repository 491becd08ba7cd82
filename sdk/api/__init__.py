"""The public functions: every one does what the command of the same name does, and returns a record.

The stages do not know each other; they are put together here. :mod:`sdk` lists the public names.

May import: device_agent.record, sdk.board.description, sdk.compress, sdk.compress.weights, sdk.deploy,
sdk.deploy.agent, sdk.deploy.fleet, sdk.explain, sdk.package, sdk.tools.
"""
