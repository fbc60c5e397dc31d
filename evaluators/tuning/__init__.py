"""`a3c tune`: searches for settings with real runs of `a3c run`, each a process tree of its own.

Search spaces are the TOML files in `spaces/`. It may import `a3c.settings`, `a3c.storage` and
`a3c.processes`.
"""
