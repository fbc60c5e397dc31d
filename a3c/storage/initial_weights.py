"""Weights to start a new run from: of a checkpoint, a package, a safetensors file, or a state dict saved by
torch."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from a3c.errors import CheckpointError
from a3c.storage.checkpoint import read_checkpoint
from a3c.storage.manifest import MANIFEST
from a3c.storage.package_format import folder, is_package, read_package
from a3c.storage.tensor_files import (
    Tensors,
    decode_tensors,
    non_finite,
    one_line,
    pickle_hint,
    read_safetensors,
)
from a3c.storage.torch_files import read_state_dict
from a3c.stores.parameters import Shapes, differences

_WRAPPERS = ("module.", "_orig_mod.", "model.", "network.", "net.", "policy.")
"""What other programs put before every name: of torch's own wrappers, and common names of a module's
field."""

_DIFFERENCES_SHOWN = 6
_log = logging.getLogger(__name__)


def load_initial_weights(
    path: Path, wanted: Shapes, optional: Tensors, fresh: Tensors | None = None
) -> Tensors:
    """Weights by name, as `wanted` names and shapes them.

    Names that differ only by a prefix that all of them have are taken for what they mean.

    Args:
        path: of a checkpoint's or a package's folder, or of a file.
        wanted: every name and shape.
        optional: those that may be missing, with their values then.
        fresh: values for all that the file has not, or in another shape, which is said in the log; None:
            then the file is refused.

    Raises:
        CheckpointError: the file is missing, damaged or unsafe; or it holds other weights, of which it says
            what is there and what is wanted.
    """
    read = _read(path)
    candidates = [optional | named for named in (read, *(_without(prefix, read) for prefix in _WRAPPERS))]
    weights = max(candidates, key=lambda named: len(named.keys() & wanted.keys()))
    different = differences(wanted, {name: tuple(tensor.shape) for name, tensor in weights.items()})
    if not different:
        return weights
    more = f"; and {len(different) - _DIFFERENCES_SHOWN} more" if len(different) > _DIFFERENCES_SHOWN else ""
    words = "; ".join(different[:_DIFFERENCES_SHOWN]) + more
    fitting = {name: tensor for name, tensor in weights.items() if tensor.shape == wanted.get(name)}
    if fresh is None or not fitting.keys() - optional.keys():
        raise CheckpointError(f"{path} holds other weights than this network has: {words}")
    _log.warning("%d of %d tensors are of %s, the others fresh: %s", len(fitting), len(wanted), path, words)
    return {**fresh, **fitting}


def _without(prefix: str, weights: Tensors) -> Tensors:
    """The same weights without a prefix of every name, as often as it is there."""
    named = dict(weights)
    while named and all(name.startswith(prefix) for name in named):
        named = {name.removeprefix(prefix): tensor for name, tensor in named.items()}
    return named


def _real_and_finite(weights: Tensors) -> Tensors:
    """The same weights. Raises ValueError where some are no numbers that can be learned from."""
    if bad := non_finite(weights):
        raise ValueError(f"{bad[0][:50]!r} holds numbers that are not finite")
    return weights


def _read(path: Path) -> Tensors:
    if is_package(path):
        return read_package(folder(path), str(path)).model
    if os.path.lexists(path / MANIFEST):
        return read_checkpoint(path).model
    if path.is_dir():
        what = "name a run's ckpt-... or best-... folder, a package or a file"
        raise CheckpointError(f"{path} is no checkpoint; {what}")
    try:
        if path.suffix == ".safetensors":
            return _real_and_finite(decode_tensors(read_safetensors(path.resolve())))
        return _real_and_finite(read_state_dict(path.resolve()))
    except OSError as error:
        raise CheckpointError(f"cannot read weights from {path}: {error.strerror or error}") from error
    except Exception as error:  # parsers of hostile bytes raise anything
        reason = one_line(error) + pickle_hint(path)
        raise CheckpointError(f"{path} holds no weights that can be loaded: {reason}") from error
