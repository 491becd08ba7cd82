"""Questions about the project that a script answers each; README.md lists them. Nothing imports this but tests."""
