"""Sending a package to the Hugging Face Hub.

The token comes from the environment (HF_TOKEN) or from `hf auth login`, and is never shown.
"""

from __future__ import annotations

from pathlib import Path

from a3c.errors import UsageError
from a3c.storage.package_format import verify_package
from a3c.trained.hub import NAME, hub_errors, hub_library


def push(repo: str, path: Path, private: bool = True) -> str:
    """Sends a package and returns where it is.

    Raises:
        UsageError: the name is none, there is no token, or the Hub does not accept it.
        CheckpointError: the package is damaged.
        StorageError: the Hub cannot be reached or fails.
    """
    if not NAME.fullmatch(repo) or "@" in repo:
        raise UsageError(f"{repo}: a repository is called user/name")
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such folder; make one with a3c package")
    files = verify_package(path)
    hub = hub_library()
    token = hub.get_token()
    if not token:
        raise UsageError("no token for the Hub: set HF_TOKEN, or log in with `hf auth login`")
    with hub_errors(hub, f"push to {repo}", token):
        api = hub.HfApi(token=token)
        made = api.create_repo(repo, private=private, exist_ok=True)
        commit = api.create_commit(
            repo,
            [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(p)) for name, p in files.items()],
            commit_message="Add the agent, its results and a replay",
        )
    return f"{made} (commit {commit.oid[:12]})"
