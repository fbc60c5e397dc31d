"""Named tensors from files nobody vouches for: nothing in them is run, and little memory is risked."""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch

from a3c.errors import CheckpointError
from a3c.storage.atomic import regular_size

MAX_BYTES = 2**30
"""Largest file of tensors that is read."""

MAX_HEADER_BYTES = 2**20
"""Largest table of contents that is parsed; ours have a few kilobytes."""

Tensors = dict[str, torch.Tensor]


def encode_tensors(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of a safetensors file; the tensors may be views, shared or on any device."""
    return safetensors.torch.save({name: _own_copy(tensor) for name, tensor in tensors.items()})


def read_safetensors(file: BinaryIO) -> bytes:
    """The bytes of a safetensors file whose header fits its size, looked at before the rest is read.

    Raises:
        OSError: it cannot be read.
        ValueError (or whatever a parser raises): it is no such file.
    """
    size = regular_size(file.fileno(), MAX_BYTES)
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > MAX_HEADER_BYTES:
        raise ValueError("not a safetensors file: its header is missing or too large")
    header = file.read(length)
    entries = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
    if 8 + length + max((entry["data_offsets"][1] for entry in entries), default=0) != size:
        raise ValueError("not the size its header declares")
    return prefix + header + file.read(size)


def decode_tensors(data: bytes) -> Tensors:
    """The tensors of a safetensors file's bytes. Raises whatever the parser does."""
    return dict(safetensors.torch.load(data))


def non_finite(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity."""
    return [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]


def load_state_dict(path: Path) -> Tensors:
    """Weights by name from a `.safetensors` file or a state dict saved by torch, on the CPU.

    A dictionary that holds the weights under "state_dict" is taken too. Files of pickled objects are
    refused: reading them could run code.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe or holds something else.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if path.suffix == ".safetensors":
                return _checked(decode_tensors(read_safetensors(file)), MAX_BYTES)
            size = regular_size(file.fileno(), MAX_BYTES)
            data = file.read(size)
        _refuse_odd_archive(data)
        return _checked(_torch_load(data), len(data))
    except OSError as error:
        raise CheckpointError(f"cannot read weights from {path}: {error.strerror or error}") from error
    except Exception as error:  # parsers of hostile bytes raise anything
        reason = one_line(error) + pickle_hint(path)
        raise CheckpointError(f"{path} holds no weights that can be loaded: {reason}") from error


LEARN_AGAIN = "A Q table is learned anew in seconds: a3c run --env Taxi-v3"
"""What to do instead of loading a pickled table."""


def pickle_hint(path: Path) -> str:
    """What to do with a pickled agent, where the name says it is one; else nothing."""
    if path.suffix not in (".pkl", ".pickle"):
        return ""
    return f"; a pickle could run any code. {LEARN_AGAIN}"


def one_line(error: BaseException) -> str:
    """The gist of an exception, short enough for one line."""
    if isinstance(error, RecursionError):
        return "nested too deep"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _own_copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _refuse_odd_archive(data: bytes) -> None:
    """torch stores its records as they are; a compressed one may unfold to any size (a zip bomb)."""
    if not data.startswith(b"PK"):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
    compressed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if compressed or sum(record.file_size for record in records) > len(data):
        raise ValueError("its records are compressed or overlap, as torch never writes them")
    if any(record.file_size > MAX_HEADER_BYTES for record in records if record.filename.endswith(".pkl")):
        raise ValueError("its table of contents is too large")


def _torch_load(data: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of another kind than its own, which it refuses
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's own words advise to switch the protection off
        raise ValueError("not a state dict saved by torch, or one with more than tensors in it") from error


def _checked(loaded: Any, limit: int) -> Tensors:
    """The state dict in what was loaded, each tensor dense and with a memory of its own."""
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not loaded:
        raise ValueError("not a dictionary of tensors by name")
    weights = {}
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{str(name)[:50]!r} is not a tensor with a name")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_complex():
            raise ValueError(f"{name[:50]!r} is not a dense tensor of real numbers")
        limit -= tensor.numel() * tensor.element_size()
        if limit < 0:  # an expanded view: few bytes in the file, any number in memory
            raise ValueError("its tensors are larger than the file")
        weights[name] = _own_copy(tensor)
    bad = non_finite(weights)
    if bad:
        raise ValueError(f"{bad[0]!r} holds numbers that are not finite")
    return weights
