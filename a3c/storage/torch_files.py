"""State dicts saved by torch, from files nobody vouches for: nothing in them is run, and what they cost is
bounded by their size.

Such a file is a pickle and the tensors' bytes: as an archive of stored records, or in the format of before
torch 1.6, one after the other. A pickle is a program for a machine that may call anything. `torch.load`, also
with `weights_only=True`, calls what it knows, and some of that runs for ever or fills the memory. So the few
instructions that torch writes are followed here: tensors are noted down, nothing is called, and those of the
state dict are then built of bytes in the file.
"""

from __future__ import annotations

import io
import math
import os
import pickletools
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from a3c.files import open_file
from a3c.storage.tensor_files import MAX_BYTES, Tensors, odd_numbers, own_copy

_MAX_PICKLE_BYTES = 2**18  # a hundred tensors take 20 kB
_MAX_RECORDS = 2**14
_MAX_DIMENSIONS = 64  # of torch
_MAX_INTEGER = 2**63
_OLD_MAGIC, _OLD_VERSION = 0x1950A86A20F9469CFC6C, 1001
_USUAL_NAMES = ("state_dict", "model_state_dict", "model")

_KNOWN = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor(_v[23])?|parameter)|torch Size|torch device"
    r"|torch \w+Storage|torch\.storage (Untyped|Typed)Storage|torch \w*(float|int|bool|complex)\w*"
)
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


class _Refusal(ValueError):
    """With words for the user."""


class _Name(NamedTuple):
    """What would be a function or a class."""

    name: str


class _Storage(NamedTuple):
    """Some memory of one kind of numbers."""

    kind: str
    key: str
    start: int  # in numbers; other than 0 in files of before torch 0.4 alone


class _Stored(NamedTuple):
    """A tensor in the file."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    kind: str


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
    except _Refusal:
        raise
    except Exception as error:  # parsers of hostile bytes raise anything
        raise ValueError("not a state dict saved by torch, or one with more than tensors in it") from error


# ---------------------------------------------------------------------------------------------------
# The two formats: what the pickle says, and the bytes of its storages by key


def _read_archive(data: bytes) -> tuple[Any, Mapping[str, bytes]]:
    if data.count(b"PK\x01\x02") > _MAX_RECORDS:  # how each entry of its table begins
        raise _Refusal("its table of contents is too large")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        # torch stores its records as they are; a compressed one may unfold to any size
        compressed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
        if compressed or sum(record.file_size for record in records) > len(data):
            raise _Refusal("its records are compressed or overlap, as torch never writes them")
        [pickle] = [record for record in records if record.filename.endswith("/data.pkl")]
        if pickle.file_size > _MAX_PICKLE_BYTES:
            raise _Refusal("its table of contents is too large")
        machine = _Machine()
        found = machine.follow(io.BytesIO(archive.read(pickle)))
        folder = pickle.filename.removesuffix("/data.pkl")
        if f"{folder}/byteorder" in archive.namelist() and archive.read(f"{folder}/byteorder") != b"little":
            raise _Refusal("it was saved on a machine with another order of bytes")
        return found, {key: archive.read(f"{folder}/data/{key}") for key in machine.kinds}


def _read_old_file(data: bytes) -> tuple[Any, Mapping[str, bytes]]:
    file, machine = io.BytesIO(data[:_MAX_PICKLE_BYTES]), _Machine()
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
# The machine


class _Machine:
    """Follows pickles and calls nothing: each instruction makes one thing of its argument and of what is on
    the stack. Keys of dictionaries are text or numbers: to hash anything else may take for ever."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}  # of numbers in each storage

    def follow(self, file: io.BytesIO) -> Any:
        """What the next pickle in a file describes. Raises whatever wrong input leads to."""
        self._stack, self._marks, self._memo = list[Any](), list[int](), dict[int, Any]()
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return self._stack.pop()
            self._obey(opcode.name, argument)
        raise ValueError("it has no end")

    def _obey(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO":
                pass
            case "MARK":
                self._marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINSTRING":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[name])
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._last(int(name[-1]))))
            case "APPEND" | "APPENDS":
                items = self._last(1) if name == "APPEND" else self._since_mark()
                _same(list, stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._last(2) if name == "SETITEM" else self._since_mark()
                _put(_same(dict, stack[-1]), zip(items[::2], items[1::2], strict=True))
            case "GLOBAL":
                stack.append(_Name(_known(argument)))
            case "BINPERSID":
                stack.append(self._storage(*_same(tuple, stack.pop())))
            case "REDUCE":
                function, arguments = self._last(2)
                stack.append(_called(_same(_Name, function).name, *_same(tuple, arguments)))
            case "BUILD":  # a state dict's versions of its modules, which nobody needs
                stack.pop()
                _same(dict, stack[-1])
            case _:
                raise _Refusal(f"it would call {str(argument or name)[:60]!r}")

    def _last(self, count: int) -> list[Any]:
        return self._from(len(self._stack) - count)

    def _since_mark(self) -> list[Any]:
        return self._from(self._marks.pop())

    def _from(self, start: int) -> list[Any]:
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _storage(self, what: str, kind: _Name, key: str, *more: Any) -> _Storage:
        """Of ("storage", type, key, location, count), once followed by a part that is meant."""
        _, _, view = (*more, None)[:3]
        if what != "storage":
            raise _Refusal("it holds a module, not its state dict")
        known = self.kinds.setdefault(_same(str, key), _same(_Name, kind).name)
        if known != kind.name:
            raise _Refusal("it takes the same bytes for numbers of several kinds")
        return _Storage(known, key, _same(tuple, view)[1] if view else 0)


def _same(kind: type, value: Any) -> Any:
    """The value. Raises TypeError unless it is exactly of this kind."""
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} in the place of {kind.__name__}")
    return value


def _known(name: str) -> str:
    if not _KNOWN.fullmatch(name):
        raise _Refusal(f"it would call {name[:60]!r}")
    return name


def _put(target: dict[Any, Any], items: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """The dictionary, which has more items now."""
    for key, value in items:
        if type(key) is not str and not (type(key) is int and abs(key) < _MAX_INTEGER):
            raise _Refusal(f"a dictionary in it has a {type(key).__name__} for a key")
        target[key] = value
    return target


def _called(name: str, *arguments: Any) -> Any:
    """What stands for the result of a known function."""
    match name.rpartition(" ")[2], arguments:
        case "OrderedDict", ():
            return {}
        case "OrderedDict", (items,):
            return _put({}, items)
        case "Size", (size,):
            return size
        case "_rebuild_parameter", (_Stored() as tensor, *_):
            return tensor
        case "_rebuild_tensor" | "_rebuild_tensor_v2", (_Storage() as storage, offset, size, stride, *more):
            if len(more) > 2 and more[2]:  # that its numbers are to be negated, or conjugated
                raise _Refusal("it holds tensors that are not stored as they are")
            return _Stored(storage, offset, size, stride, storage.kind)
        case "_rebuild_tensor_v3", (_Storage() as storage, offset, size, stride, _, _, _Name(kind), *_):
            return _Stored(storage, offset, size, stride, kind)
    return _Name(name)


# ---------------------------------------------------------------------------------------------------
# The weights


def _unwrapped(found: Any) -> Any:
    """The weights in a training's checkpoint, where it is plain which they are: its one dictionary of
    tensors, or the one with a usual name."""
    if not isinstance(found, dict) or all(isinstance(value, _Stored) for value in found.values()):
        return found
    inside = {str(name): value for name, value in found.items() if _is_state_dict(value)}
    for name in _USUAL_NAMES:
        if name in inside:
            return inside[name]
    if len(inside) > 1:
        raise _Refusal(f"it holds several state dicts ({', '.join(sorted(inside)[:6])}); save one alone")
    return next(iter(inside.values()), found)


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(v, _Stored) for v in value.values())


def _built(found: Any, storages: Mapping[str, bytes], limit: int) -> Tensors:
    """The tensors in a dictionary, each dense and with a memory of its own, `limit` bytes at the most."""
    if not isinstance(found, dict) or not found:
        raise _Refusal("not a dictionary of tensors by name")
    for name, stored in found.items():
        if not isinstance(name, str) or not isinstance(stored, _Stored):
            kind = "an object" if isinstance(stored, _Name) else type(stored).__name__
            raise _Refusal(f"{str(name)[:50]!r} is not a tensor with a name but {kind}{_inside(found)}")
        limit -= _checked_bytes(name, stored)
        if limit < 0:  # an expanded view: few bytes in the file, any number in memory
            raise _Refusal("its tensors are larger than the file")
    memory = {key: torch.frombuffer(bytearray(b), dtype=torch.uint8) for key, b in storages.items() if b}
    return {name: own_copy(_view(stored, memory)) for name, stored in found.items()}


def _inside(found: Mapping[Any, Any]) -> str:
    names = [str(name)[:30] for name, value in found.items() if not isinstance(value, _Stored)]
    return f"; beside tensors it has {', '.join(sorted(names)[:5])}" if len(names) < len(found) else ""


def _checked_bytes(name: str, stored: _Stored) -> int:
    """How many bytes a tensor has in memory, once it is sure that it can be built."""
    whole = [stored.offset, *_same(tuple, stored.size), *_same(tuple, stored.stride)]
    if len(whole) > 1 + 2 * _MAX_DIMENSIONS or not all(0 <= _same(int, n) < _MAX_INTEGER for n in whole):
        raise _Refusal(f"{name[:50]!r} has a size that no tensor has")
    return math.prod(stored.size) * _dtype(name, stored.kind).itemsize


def _dtype(name: str, kind: str) -> torch.dtype:
    if kind not in _DTYPES:
        raise _Refusal(odd_numbers(name, kind.replace(" ", ".").removesuffix("Storage")))
    return _DTYPES[kind]


def _view(stored: _Stored, memory: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A tensor of bytes of its storage. torch raises an error where they do not suffice."""
    dtype = _DTYPES[stored.kind]
    if 0 in stored.size:
        return torch.empty(stored.size, dtype=dtype)
    there = memory[stored.storage.key]
    numbers = there[: len(there) // dtype.itemsize * dtype.itemsize].view(dtype)
    return numbers.as_strided(stored.size, stored.stride, stored.storage.start + stored.offset)
