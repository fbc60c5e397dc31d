"""Packages on the Hugging Face Hub: reading one from there, and what sending one there needs too.

The token comes from the environment (HF_TOKEN) or from `hf auth login`, and is never shown.
"""

from __future__ import annotations

import importlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from a3c.errors import A3CError, CheckpointError, StorageError, UsageError, printable
from a3c.storage.atomic import read_regular
from a3c.storage.checkpoint import Checkpoint
from a3c.storage.manifest import MANIFEST
from a3c.storage.package_format import read_package
from a3c.storage.tensor_files import LEARN_AGAIN

PREFIX = "hub:"
"""What a checkpoint's name on the Hub begins with: hub:user/name, or hub:user/name@revision."""

NAME = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]{1,100}))?")
_TIMEOUT_S = 20.0  # without a byte
_PATIENCE_S, _SLOWEST = 60.0, 50_000  # a file may take so long, and longer by its bytes at so many per second
T = TypeVar("T")


def download(name: str) -> Checkpoint:
    """The agent called "hub:user/name" or "hub:user/name@revision"; all its files are of one revision.

    Raises:
        UsageError: there is no such repository, or it may not be read.
        CheckpointError: it holds no sound package.
        StorageError: the Hub cannot be reached or fails.
    """
    match = NAME.fullmatch(name.removeprefix(PREFIX))
    if not match:
        raise UsageError(f"{name}: an agent on the Hub is called {PREFIX}user/name")
    repo, revision = match.groups()
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # its own protocol says nothing of what arrives
    hub = hub_library()
    token = hub.get_token()

    def fetch(file: str, limit: int) -> bytes:
        nonlocal revision
        with hub_errors(hub, f"get {file} of {name}", token or ""):
            try:
                get = partial(hub.hf_hub_download, repo, file, token=token, etag_timeout=_TIMEOUT_S)
                found = _in_time(partial(get, revision=revision, dry_run=True), _PATIENCE_S)
                if found.file_size > limit:
                    raise CheckpointError(f"{name}: {file} has {found.file_size} bytes, more than {limit}")
                revision = found.commit_hash
                bar = _bar_that_counts(hub, found.file_size, f"{name}: {file}")
                patience_s = _PATIENCE_S + found.file_size / _SLOWEST
                path = _in_time(partial(get, revision=revision, tqdm_class=bar), patience_s)
            except hub.errors.LocalEntryNotFoundError as error:  # neither there nor kept from before
                raise error.__cause__ or error from None
            except hub.errors.EntryNotFoundError as error:
                why = f"{name} has no {file}, so it is no package of `a3c package`"
                pickles = f"; pickled agents are never loaded. {LEARN_AGAIN}"
                raise CheckpointError(why + pickles * (file == MANIFEST)) from error
        return read_regular(Path(path).resolve(), limit)

    return read_package(fetch, name)


def _in_time(call: Callable[[], T], timeout_s: float) -> T:
    """What `call` returns or raises; TimeoutError when it takes longer: the library waits as long as a server
    sends a byte now and then."""
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()  # it ends with the process at the latest
    try:
        return outcome.result(timeout_s)
    except FutureTimeout:
        raise TimeoutError(f"no answer within {timeout_s:.0f} s") from None


def _bar_that_counts(hub: ModuleType, size_bytes: int, what: str) -> type[Any]:
    """A progress bar, unseen, that ends a download of more than was announced."""

    class Bar(hub.utils.tqdm):  # type: ignore[name-defined, misc]
        received = 0.0

        def update(self, n: float | None = 1) -> bool | None:
            self.received += n or 0
            if self.received > size_bytes:
                raise CheckpointError(f"{what} is larger than the {size_bytes} bytes that the Hub announced")
            return bool(super().update(n))

    return Bar


def hub_library() -> ModuleType:
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
def hub_errors(hub: ModuleType, what: str, token: str) -> Iterator[None]:
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
    return printable(" ".join(text.split()))[:200]
