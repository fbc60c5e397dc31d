"""Packages on the Hugging Face Hub: sending one there, and reading one from there.

The token comes from the environment (HF_TOKEN) or from `hf auth login`, and is never shown.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from a3c.errors import EXIT_OK, A3CError, CheckpointError, StorageError, UsageError
from a3c.settings.flags import Parser
from a3c.storage.atomic import read_regular

if TYPE_CHECKING:
    from a3c.storage.checkpoint import Checkpoint

PREFIX = "hub:"
"""What a checkpoint's name on the Hub begins with: hub:user/name, or hub:user/name@revision."""

_NAME = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]{1,100}))?")
_TIMEOUT_S = 20.0


def main(argv: Sequence[str]) -> int:
    """`a3c push`: returns the exit code. Raises A3CError for what the user can mend."""
    parser = Parser("a3c push", "Sends a package (see a3c package) to the Hugging Face Hub, in one commit.")
    parser.add_argument("repo", metavar="REPO", help="user/name; made when it is not there")
    parser.add_argument("folder", metavar="DIR", type=Path, help="the package's folder")
    parser.add_argument("--public", action="store_true", help="make a new repository public, not private")
    options = parser.parse(argv)
    print(push(options.repo, options.folder, private=not options.public))
    return EXIT_OK


def push(repo: str, path: Path, private: bool = True) -> str:
    """Sends a package and returns where it is.

    Raises:
        UsageError: the name is none, there is no token, or the Hub does not accept it.
        CheckpointError: the package is damaged.
        StorageError: the Hub cannot be reached or fails.
    """
    from evaluators.package_format import verify_package

    if not re.fullmatch(_NAME, repo) or "@" in repo:
        raise UsageError(f"{repo}: a repository is called user/name")
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such folder; make one with a3c package")
    files = verify_package(path)
    hub = _library()
    token = hub.get_token()
    if not token:
        raise UsageError("no token for the Hub: set HF_TOKEN, or log in with `hf auth login`")
    with _hub_errors(hub, f"push to {repo}", token):
        api = hub.HfApi(token=token)
        made = api.create_repo(repo, private=private, exist_ok=True)
        commit = api.create_commit(
            repo,
            [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(p)) for name, p in files.items()],
            commit_message="Add the agent, its results and a replay",
        )
    return f"{made} (commit {commit.oid[:12]})"


def download(name: str) -> Checkpoint:
    """The agent called "hub:user/name" or "hub:user/name@revision"; all its files are of one revision.

    Raises:
        UsageError: there is no such repository, or it may not be read.
        CheckpointError: it holds no sound package.
        StorageError: the Hub cannot be reached or fails.
    """
    from evaluators.package_format import MANIFEST, read_package

    match = _NAME.fullmatch(name.removeprefix(PREFIX))
    if not match:
        raise UsageError(f"{name}: an agent on the Hub is called {PREFIX}user/name")
    repo, revision = match.groups()
    hub = _library()
    token = hub.get_token()

    def fetch(file: str, limit: int) -> bytes:
        nonlocal revision
        with _hub_errors(hub, f"get {file} of {name}", token or ""):
            try:
                found = hub.hf_hub_download(
                    repo, file, revision=revision, token=token, dry_run=True, etag_timeout=_TIMEOUT_S
                )
                if found.file_size > limit:
                    raise CheckpointError(f"{name}: {file} has {found.file_size} bytes, more than {limit}")
                revision = found.commit_hash
                path = hub.hf_hub_download(
                    repo, file, revision=revision, token=token, etag_timeout=_TIMEOUT_S
                )
            except hub.errors.LocalEntryNotFoundError as error:  # neither there nor kept from before
                raise error.__cause__ or error from None
            except hub.errors.EntryNotFoundError as error:
                why = f"{name} has no {file}, so it is no package of `a3c package`"
                pickles = "; pickled agents are never loaded, see `a3c convert-q-table`"
                raise CheckpointError(why + pickles * (file == MANIFEST)) from error
        return read_regular(Path(path).resolve(), limit)

    return read_package(fetch, name)


def _library() -> ModuleType:
    """huggingface_hub. Raises UsageError where it is not installed."""
    try:
        library = importlib.import_module("huggingface_hub")
        importlib.import_module("huggingface_hub.errors")
        utils = importlib.import_module("huggingface_hub.utils")
    except ImportError as error:
        raise UsageError('this needs huggingface_hub: pip install "a3c[hub]"') from error
    utils.disable_progress_bars()
    return library


@contextmanager
def _hub_errors(hub: ModuleType, what: str, token: str) -> Iterator[None]:
    """Turns the library's errors into ours: one line, without the token."""
    try:
        yield
    except A3CError:
        raise
    except hub.errors.HfHubHTTPError as error:
        status = error.response.status_code
        said = _harmless(error.server_message or "", token)
        reason = f"the Hub answered {status}" + (f" ({said})" if said else "")
        if status in (401, 403):
            raise UsageError(f"cannot {what}: {reason}; is HF_TOKEN right, and may it do that?") from None
        if status == 404:
            raise UsageError(f"cannot {what}: {reason}; no such repository, or a private one") from None
        raise StorageError(f"cannot {what}: {reason}; try again later") from None
    except Exception as error:  # of the network: the library's versions raise different kinds
        said = _harmless(str(error), token) or type(error).__name__
        raise StorageError(f"cannot {what}: {said}; is the network there? Try again") from None


def _harmless(text: str, token: str) -> str:
    """A stranger's words as one short printable line."""
    if token:
        text = text.replace(token, "...")
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[:200]
