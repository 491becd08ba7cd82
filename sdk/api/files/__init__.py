"""Verbs that work on files: convert, compress, pack, inspect, sign, the zoo.

May import: device_agent.package, device_agent.package.codec, device_agent.record, device_agent.tensors, sdk.api,
sdk.api.checking, sdk.board, sdk.board.description, sdk.board.ssh, sdk.compress, sdk.compress.board_form,
sdk.compress.recipes, sdk.compress.rewrite, sdk.compress.solve, sdk.compress.weights, sdk.data, sdk.data.meaning,
sdk.data.scoring, sdk.deploy.agent, sdk.deploy.predicting, sdk.deploy.provision, sdk.errors, sdk.explain, sdk.graph,
sdk.graph.embedded, sdk.graph.in_tensorflow, sdk.graph.made_up, sdk.graph.on_host, sdk.graph.on_host.sources,
sdk.models, sdk.package, sdk.tools, sdk.tools.system.
"""
