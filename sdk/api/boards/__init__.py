"""Verbs that work on boards: probe, fetch, deploy, evaluate, predict, export, releases, services, fleets.

May import: device_agent.image, device_agent.package, device_agent.package.codec, device_agent.record,
device_agent.tensors, sdk.api, sdk.api.files, sdk.board, sdk.board.description, sdk.board.emulation, sdk.board.ssh,
sdk.data, sdk.data.meaning, sdk.data.scoring, sdk.deploy, sdk.deploy.agent, sdk.deploy.fleet, sdk.deploy.predicting,
sdk.deploy.provision, sdk.errors, sdk.explain, sdk.graph, sdk.graph.on_host, sdk.graph.on_host.sources, sdk.package,
sdk.tools, sdk.tools.system.
"""
