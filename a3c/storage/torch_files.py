"""State dicts saved by torch, from files nobody vouches for: nothing in them is run, and little memory is
risked.

Such a file is a pickle and the tensors' bytes: as an archive of stored records, or in the format of before
torch 1.6, one after the other. `torch.load(weights_only=True)` calls only what it knows, but some of that
builds things of any size; so the pickle's instructions are looked at first. What they may build is bounded by
the file's size.
"""

from __future__ import annotations

import io
import os
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from a3c.files import open_file
from a3c.storage.tensor_files import MAX_BYTES, Tensors, own_copy

_MAX_PICKLE_BYTES = 2**18  # a hundred tensors take 20 kB
_OLD_PICKLES = 5  # magic number, protocol, sizes of types, the state dict, names of the storages
_SMALL = 2**16  # sizes up to this one hurt nobody, whatever the file's is
_OLD_MAGIC = 0x1950A86A20F9469CFC6C

_CALLABLE = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|torch Size|torch device"
    r"|torch \w+Storage|torch\.storage (Untyped|Typed)Storage|torch (b?float|u?int)\d+|torch bool"
)
_USUAL_NAMES = ("state_dict", "model_state_dict", "model")
_INDIRECT = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"}


def read_state_dict(path: Path) -> Tensors:
    """Weights by name, on the CPU.

    Raises:
        OSError: the file cannot be read.
        ValueError (or whatever a parser raises): it is damaged, unsafe or holds something else.
    """
    with os.fdopen(open_file(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise ValueError(f"{size} bytes, more than the {MAX_BYTES} allowed")
        data = file.read(size)
    for pickle in _pickles_of_archive(data) if data.startswith(b"PK") else _pickles_of_old_file(data):
        _check_pickle(pickle, len(data))
    return _checked(_unwrapped(_load(data)), len(data))


def _unwrapped(loaded: Any) -> Any:
    """The weights in a training's checkpoint, where it is plain which they are: its one dictionary of
    tensors, or the one with a usual name."""
    if not isinstance(loaded, Mapping) or all(isinstance(value, torch.Tensor) for value in loaded.values()):
        return loaded
    inside = {str(name): value for name, value in loaded.items() if _is_state_dict(value)}
    for name in _USUAL_NAMES:
        if name in inside:
            return inside[name]
    if len(inside) > 1:
        raise ValueError(f"it holds several state dicts ({', '.join(sorted(inside)[:6])}); save one alone")
    return next(iter(inside.values()), loaded)


def _is_state_dict(value: Any) -> bool:
    tensors = value.values() if isinstance(value, Mapping) else ()
    return bool(tensors) and all(isinstance(tensor, torch.Tensor) for tensor in tensors)


def _checked(loaded: Any, limit: int) -> Tensors:
    """The tensors in a dictionary, each dense and with a memory of its own, `limit` bytes at the most."""
    if not isinstance(loaded, Mapping) or not loaded:
        raise ValueError("not a dictionary of tensors by name")
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            kind = type(tensor).__name__
            raise ValueError(f"{str(name)[:50]!r} is not a tensor with a name but {kind}{_inside(loaded)}")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_complex():
            raise ValueError(f"{name[:50]!r} is not a dense tensor of real numbers")
        limit -= tensor.numel() * tensor.element_size()
        if limit < 0:  # an expanded view: few bytes in the file, any number in memory
            raise ValueError("its tensors are larger than the file")
    return {name: own_copy(tensor) for name, tensor in loaded.items()}


def _inside(loaded: Mapping[Any, Any]) -> str:
    names = [str(name)[:30] for name, value in loaded.items() if not isinstance(value, torch.Tensor)]
    return f"; beside tensors it has {', '.join(sorted(names)[:5])}" if len(names) < len(loaded) else ""


def _load(data: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of another kind than its own, which it refuses
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's own words advise to switch the protection off
        raise ValueError("not a state dict saved by torch, or one with more than tensors in it") from error


def _pickles_of_archive(data: bytes) -> list[bytes]:
    """torch stores its records as they are; a compressed one may unfold to any size (a zip bomb)."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        compressed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
        if compressed or sum(record.file_size for record in records) > len(data):
            raise ValueError("its records are compressed or overlap, as torch never writes them")
        # torch finds its records whatever the case of their names.
        pickles = [record for record in records if record.filename.lower().endswith(".pkl")]
        if any(record.file_size > _MAX_PICKLE_BYTES for record in pickles):
            raise ValueError("its table of contents is too large")
        return [archive.read(record) for record in pickles]


def _pickles_of_old_file(data: bytes) -> list[bytes]:
    head, found, start = io.BytesIO(data[:_MAX_PICKLE_BYTES]), [], 0
    for _ in range(_OLD_PICKLES):
        for _ in pickletools.genops(head):
            pass
        found.append(data[start : head.tell()])
        start = head.tell()
    return found


def _check_pickle(pickle: bytes, limit: int) -> None:
    """Raises ValueError for instructions that could build much more than a file of `limit` bytes holds."""
    limit = max(limit, _SMALL)
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name in _INDIRECT or (opcode.name == "GLOBAL" and not _CALLABLE.fullmatch(str(argument))):
            raise ValueError(f"it would call {str(argument or opcode.name)[:60]!r}")
        if isinstance(argument, int) and argument > limit and argument != _OLD_MAGIC:
            raise ValueError(f"it declares a size of {argument}, more than the file can hold")
