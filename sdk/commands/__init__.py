"""The commands of ``sdk``, one module a subject. Each parses, calls a public function, and prints its result.

Nothing heavy is imported at the top: every command imports what it needs when it runs, so that ``sdk --help`` is
instant.
"""
