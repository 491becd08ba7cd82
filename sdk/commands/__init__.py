"""The commands of ``sdk``, one module per subject. Each parses, calls a public function, and prints its result.

Nothing heavy is imported at the top: every command imports what it needs when it runs, so that ``sdk --help`` is
instant.

May import: device_agent.errors, device_agent.record, sdk.api, sdk.api.boards, sdk.api.files, sdk.api.measuring,
sdk.board, sdk.deploy, sdk.deploy.native, sdk.errors, sdk.explain, sdk.explain.speed, sdk.report.terminal, sdk.tools,
sdk.tools.system.
"""
