"""Verbs that measure: bench, tune, suites, calibration, the demo, and what reads their records.

May import: device_agent.package, device_agent.package.codec, device_agent.record, sdk.api, sdk.api.boards,
sdk.api.checking, sdk.api.files, sdk.board, sdk.board.description, sdk.compress.board_form, sdk.compress.recipes,
sdk.compress.rewrite, sdk.compress.weights, sdk.data, sdk.data.scoring, sdk.deploy, sdk.deploy.agent,
sdk.deploy.predicting, sdk.deploy.provision, sdk.errors, sdk.explain, sdk.explain.soaking, sdk.explain.speed,
sdk.graph, sdk.graph.on_host, sdk.graph.on_host.sources, sdk.models, sdk.package, sdk.report, sdk.report.page,
sdk.tools, sdk.tools.system.
"""
