"""Milliseconds with no board: a runtime's inference on an emulated core, replayed through the cores of boards.

May import: device_agent, device_agent.package, device_agent.record, sdk.board, sdk.board.description,
sdk.board.emulation, sdk.board.emulation.replay, sdk.deploy.agent, sdk.deploy.provision, sdk.errors, sdk.explain.speed,
sdk.graph, sdk.tools, sdk.tools.system.
"""
