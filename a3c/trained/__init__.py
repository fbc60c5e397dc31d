"""A trained agent, found and rebuilt: from a run, a checkpoint, a package, or the Hugging Face Hub.

Everything that plays what was trained comes through here. It may import `storage`, `agents` and `envs` and
what lies below them.
"""
