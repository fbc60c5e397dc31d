"""Named tensors as safetensors, from files nobody vouches for: what they declare is compared with their size
before anything is built of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import safetensors.torch
import torch

from a3c.files import open_file

MAX_BYTES = 2**30
"""Largest file of tensors that is read."""

MAX_HEADER_BYTES = 2**20
"""Largest table of contents that is parsed; ours have a few kilobytes."""

NUMBERS = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
"""What tensors from files may hold: numbers that every operation here knows."""

_PREFIX_BYTES = 8  # of a safetensors file: the length of its header

Tensors = dict[str, torch.Tensor]


def encode_tensors(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of a safetensors file; the tensors may be views, shared or on any device."""
    return safetensors.torch.save({name: own_copy(tensor) for name, tensor in tensors.items()})


def read_safetensors(path: str | Path, folder: int | None = None) -> bytes:
    """The bytes of a safetensors file whose header fits its size, looked at before the rest is read.

    Raises:
        OSError: it cannot be read.
        ValueError (or whatever a parser raises): it is no such file.
    """
    with os.fdopen(open_file(path, folder=folder), "rb") as file:
        size = _size(file)
        head = file.read(_PREFIX_BYTES + MAX_HEADER_BYTES)
        _check_header(head, size)
        return head + file.read(size - len(head))


def decode_tensors(data: bytes) -> Tensors:
    """The tensors of a safetensors file's bytes. Raises ValueError for what is not among `NUMBERS`, and
    whatever the parser does."""
    _check_header(data[: _PREFIX_BYTES + MAX_HEADER_BYTES], len(data))
    tensors = dict(safetensors.torch.load(data))
    for name, tensor in tensors.items():
        if tensor.dtype not in NUMBERS:
            raise ValueError(odd_numbers(name, tensor.dtype))
    return tensors


def _check_header(head: bytes, size: int) -> None:
    """Raises ValueError unless the beginning of a file of `size` bytes declares just that size."""
    length = int.from_bytes(head[:_PREFIX_BYTES], "little")
    if len(head) < _PREFIX_BYTES or length > MAX_HEADER_BYTES:
        raise ValueError("not a safetensors file: its header is missing or too large")
    header = json.loads(head[_PREFIX_BYTES : _PREFIX_BYTES + length])
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if _PREFIX_BYTES + length + max(ends, default=0) != size:
        raise ValueError("not the size its header declares")


def _size(file: BinaryIO) -> int:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes, more than the {MAX_BYTES} allowed")
    return size


def non_finite(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity."""
    return [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]


def odd_numbers(name: str, kind: object) -> str:
    """Why a tensor of a kind that is not among `NUMBERS` is refused."""
    return f"{name[:50]!r} holds {kind} numbers; weights are float32, float64, float16 or bfloat16"


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


def own_copy(tensor: torch.Tensor) -> torch.Tensor:
    """Its values on the CPU, dense, with a memory of its own."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
