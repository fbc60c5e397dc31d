"""State dicts saved by torch, from files nobody vouches for: nothing in them is run, and what they cost is
bounded by their size.

Such a file is a pickle and the tensors' bytes: as an archive of stored records, or in the format of before
torch 1.6, one after the other. `torch.load`, also with `weights_only=True`, does what the pickle says, with
what it knows, and some of that runs for ever or fills the memory. So it is only asked which tensors it
describes (`a3c.storage.pickles`), and those of the state dict are built of bytes in the file.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from a3c.files import open_file
from a3c.storage.pickles import MAX_INTEGER, Name, PickleMachine, Refusal, StoredTensor, exactly
from a3c.storage.tensor_files import MAX_BYTES, Tensors, odd_numbers, own_copy

_MAX_PICKLE_BYTES = 2**18  # a hundred tensors take 20 kB
_MAX_TABLE_BYTES = 2**20  # of an archive: its names and where they are
_MAX_DIMENSIONS = 64  # of torch
_ENTRY = struct.Struct("<4s6sH4s3L3H8sL")  # of that table: APPNOTE.TXT of PKWARE, 4.3.12
_END = struct.Struct("<4s8s2LH")  # behind it, 4.3.16
_OLD_MAGIC, _OLD_VERSION = 0x1950A86A20F9469CFC6C, 1001
_USUAL_NAMES = ("state_dict", "model_state_dict", "model")

_DTYPES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}


def read_state_dict(path: Path) -> Tensors:
    """Weights by name, on the CPU.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, unsafe or holds something else.
    """
    with os.fdopen(open_file(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise ValueError(f"{size} bytes, more than the {MAX_BYTES} allowed")
        data = file.read(size)
    try:
        found, storages = _read_archive(data) if data.startswith(b"PK") else _read_old_file(data)
        return _built(_unwrapped(found), storages, len(data))
    except Refusal:
        raise
    except Exception as error:  # parsers of hostile bytes raise anything
        raise ValueError("not a state dict saved by torch, or one with more than tensors in it") from error


# ---------------------------------------------------------------------------------------------------
# The two formats: what the pickle says, and the bytes of its storages by key


def _read_archive(data: bytes) -> tuple[Any, Mapping[str, bytes]]:
    records = _records(data)
    [folder] = [name.removesuffix("/data.pkl") for name in records if name.endswith("/data.pkl")]
    pickle = records[f"{folder}/data.pkl"]
    if pickle.size > _MAX_PICKLE_BYTES:
        raise Refusal("its table of contents is too large")
    machine = PickleMachine()
    found = machine.follow(io.BytesIO(pickle.read(data)))
    order = records.get(f"{folder}/byteorder")
    if order and order.read(data) != b"little":
        raise Refusal("it was saved on a machine with another order of bytes")
    return found, {key: records[f"{folder}/data/{key}"].read(data) for key in machine.kinds}


class _Record(NamedTuple):
    """A file in an archive."""

    start: int  # of its header
    size: int
    crc: int

    def read(self, data: bytes) -> bytes:
        lengths = struct.unpack_from("<2H", data, self.start + 26)  # of a name and of what nobody reads
        start = self.start + 30 + sum(lengths)
        content = data[start : start + self.size]
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise Refusal("it is damaged: a record is not what was written")
        return content


def _records(data: bytes) -> dict[str, _Record]:
    """The files in an archive, by name, together no larger than it. (`zipfile` takes minutes for some.)"""
    *_, length, start, _ = _END.unpack_from(data, data.rfind(b"PK\x05\x06"))
    if length > _MAX_TABLE_BYTES:
        raise Refusal("its table of contents is too large")
    found, place, left = dict[str, _Record](), start, len(data)
    while place < start + length:
        sign, _, method, _, crc, packed, size, *lengths, _, header = _ENTRY.unpack_from(data, place)
        place += _ENTRY.size
        name = data[place : place + lengths[0]].decode()
        place += sum(lengths)
        left -= size
        if method or packed != size or left < 0:  # one that is compressed may unfold to any size
            raise Refusal("its records are compressed or overlap, as torch never writes them")
        if sign != b"PK\x01\x02" or name in found:
            raise Refusal("its table of contents is damaged")
        found[name] = _Record(header, size, crc)
    return found


def _read_old_file(data: bytes) -> tuple[Any, Mapping[str, bytes]]:
    file, machine = io.BytesIO(data[:_MAX_PICKLE_BYTES]), PickleMachine()
    magic, version, system, found, keys = (machine.follow(file) for _ in range(5))
    if (magic, version, system["little_endian"]) != (_OLD_MAGIC, _OLD_VERSION, True):
        raise ValueError("of another format")
    storages, start = dict[str, bytes](), file.tell()
    for key in keys:
        numbers = int.from_bytes(data[start : start + 8], "little")
        end = start + 8 + numbers * _dtype(f"storage {key}", machine.kinds[key]).itemsize
        storages[key], start = data[start + 8 : end], end
    return found, storages


# ---------------------------------------------------------------------------------------------------
# The weights


def _unwrapped(found: Any) -> Any:
    """The weights in a training's checkpoint, where it is plain which they are: its one dictionary of
    tensors, or the one with a usual name."""
    if not isinstance(found, dict) or all(isinstance(value, StoredTensor) for value in found.values()):
        return found
    different = {id(value): value for value in found.values()}
    sound = {number for number, value in different.items() if _is_state_dict(value)}
    inside = {str(name): value for name, value in found.items() if id(value) in sound}
    for name in _USUAL_NAMES:
        if name in inside:
            return inside[name]
    if len(inside) > 1:
        raise Refusal(f"it holds several state dicts ({', '.join(sorted(inside)[:6])}); save one alone")
    return next(iter(inside.values()), found)


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict) and bool(value) and all(isinstance(v, StoredTensor) for v in value.values())
    )


def _built(found: Any, storages: Mapping[str, bytes], limit: int) -> Tensors:
    """The tensors in a dictionary, each dense and with a memory of its own, `limit` bytes at the most."""
    if not isinstance(found, dict) or not found:
        raise Refusal("not a dictionary of tensors by name")
    for name, stored in found.items():
        if not isinstance(name, str) or not isinstance(stored, StoredTensor):
            kind = "an object" if isinstance(stored, Name) else type(stored).__name__
            raise Refusal(f"{str(name)[:50]!r} is not a tensor with a name but {kind}{_inside(found)}")
        limit -= _checked_bytes(name, stored)
        if limit < 0:  # an expanded view: few bytes in the file, any number in memory
            raise Refusal("its tensors are larger than the file")
    memory = {key: torch.frombuffer(bytearray(b), dtype=torch.uint8) for key, b in storages.items() if b}
    return {name: own_copy(_view(stored, memory)) for name, stored in found.items()}


def _inside(found: Mapping[Any, Any]) -> str:
    names = [str(name)[:30] for name, value in found.items() if not isinstance(value, StoredTensor)]
    return f"; beside tensors it has {', '.join(sorted(names)[:5])}" if len(names) < len(found) else ""


def _checked_bytes(name: str, stored: StoredTensor) -> int:
    """How many bytes a tensor has in memory, once it is sure that it can be built."""
    whole = [
        stored.storage.start,
        stored.offset,
        *exactly(tuple, stored.size),
        *exactly(tuple, stored.stride),
    ]
    if len(whole) > 2 + 2 * _MAX_DIMENSIONS or not all(0 <= exactly(int, n) < MAX_INTEGER for n in whole):
        raise Refusal(f"{name[:50]!r} has a size that no tensor has")
    return math.prod(stored.size) * _dtype(name, stored.kind).itemsize


def _dtype(name: str, kind: str) -> torch.dtype:
    if kind not in _DTYPES:
        raise Refusal(odd_numbers(name, kind.replace(" ", ".").removesuffix("Storage")))
    return _DTYPES[kind]


def _view(stored: StoredTensor, memory: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A tensor of bytes of its storage. Raises Refusal where they do not suffice."""
    dtype = _DTYPES[stored.kind]
    if 0 in stored.size:
        return torch.empty(stored.size, dtype=dtype)
    there = memory[stored.storage.key]
    numbers = there[: len(there) // dtype.itemsize * dtype.itemsize].view(dtype)
    first = stored.storage.start + stored.offset
    if first + sum((n - 1) * step for n, step in zip(stored.size, stored.stride, strict=True)) >= len(
        numbers
    ):
        raise Refusal("it has a tensor of more bytes than are there")
    return numbers.as_strided(stored.size, stored.stride, first)
