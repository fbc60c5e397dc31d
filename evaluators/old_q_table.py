"""`a3c convert-q-table`: takes the numbers out of a pickled Q table without unpickling it.

A pickle is a program, and loading one runs it. Here its instructions are only read: a handful of them builds
plain dicts, lists, texts and numbers, and the few by which numpy writes an array are recognised by name and
followed by hand. Anything else is refused; nothing in the file is ever called.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from a3c.errors import EXIT_OK, CheckpointError, UsageError
from a3c.settings.flags import Parser
from a3c.storage.atomic import read_regular, replace_file, storage_errors

MAX_BYTES = 2**26
TABLE_NAMES = ("qtable", "q_table", "Q", "q")
"""Keys under which courses keep the table."""

_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_FROM_BUFFER = ("numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer")
_SCALAR = ("numpy.core.multiarray scalar", "numpy._core.multiarray scalar")
_NDARRAY, _DTYPE, _ENCODE = "numpy ndarray", "numpy dtype", "_codecs encode"
_KNOWN = {*_RECONSTRUCT, *_FROM_BUFFER, *_SCALAR, _NDARRAY, _DTYPE, _ENCODE}


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. Raises A3CError for what the user can mend."""
    parser = Parser(
        "a3c convert-q-table",
        "Takes the numbers out of a pickled Q table, running nothing of it; --init-from starts from them.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="like q-learning.pkl")
    parser.add_argument("out", metavar="OUT", type=Path, help="the new file, .safetensors")
    options = parser.parse(argv)
    if options.out.suffix != ".safetensors":
        raise UsageError(f"{options.out}: the name must end in .safetensors")
    table = read_q_table(options.file)

    import torch

    from a3c.storage.tensor_files import encode_tensors

    with storage_errors(f"write {options.out}"):
        replace_file(options.out, encode_tensors({"q": torch.from_numpy(table)}))
    states, actions = table.shape
    print(f"{options.out}: a table of {states} states and {actions} actions")
    print(f"go on from it: a3c run --env ID --algo q-learning --init-from {options.out}")
    return EXIT_OK


def read_q_table(path: Path) -> np.ndarray:
    """[S, A] float32: the table in a pickle of one, or of a dict that holds one.

    Raises:
        CheckpointError: the file cannot be read, or holds anything but plain data and arrays of numbers.
    """
    try:
        value = read_plain_pickle(read_regular(path, MAX_BYTES))
        if isinstance(value, dict):
            names = [name for name in TABLE_NAMES if name in value]
            if not names:
                raise ValueError(f"it has no table under {', '.join(TABLE_NAMES)}")
            value = value[names[0]]
        table = np.asarray(value, dtype=np.float32)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # parsers of hostile bytes raise anything
        raise CheckpointError(f"{path} is refused: {' '.join(str(error).split())[:200]}") from error
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise CheckpointError(f"{path}: a table of numbers by state and action is needed, not {table.shape}")
    return np.ascontiguousarray(table)


class _Name(NamedTuple):
    """Something a pickle names to be called; it never is."""

    text: str


class _Dtype(NamedTuple):
    text: str  # like "<f8"


@dataclass
class _Array:
    """An array that waits for its content."""

    value: np.ndarray | None = None


class _Mark:
    pass


def read_plain_pickle(data: bytes) -> Any:
    """The plain value in a pickle. Raises ValueError for any other, or whatever a malformed one leads to."""
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "STOP":
            return machine.plain(machine.stack[-1])
        machine.follow(opcode.name, argument)
    raise ValueError("it is cut short")


class _Machine:
    """Follows the instructions that build plain data."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def follow(self, name: str, argument: Any) -> None:
        if name in ("PROTO", "FRAME"):
            return
        if name in _PUSHES_ARGUMENT:
            self.stack.append(argument)
        elif name in _PUSHES:
            self.stack.append(_PUSHES[name]())
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[len(self.memo) if name == "MEMOIZE" else int(argument)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[int(argument)])
        elif name in _STEPS:
            _STEPS[name](self)
        elif name == "GLOBAL":
            self.stack.append(_known(argument))
        else:
            raise ValueError(f"it holds more than plain data and arrays of numbers ({name})")

    def plain(self, value: Any) -> Any:
        """The value of an array; everything else as it is."""
        if isinstance(value, dict):
            return {key: self.plain(item) for key, item in value.items()}
        if isinstance(value, _Array):
            return value.value
        if isinstance(value, (_Name, _Dtype, _Mark)):
            raise ValueError("it holds more than plain data and arrays of numbers")
        return value

    def since_mark(self) -> list[Any]:
        """Takes off what was pushed since the last mark."""
        at = max(i for i, item in enumerate(self.stack) if isinstance(item, _Mark))
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def tuple_of(self, count: int) -> None:
        self.stack[len(self.stack) - count :] = [tuple(self.stack[len(self.stack) - count :])]

    def set_items(self, items: list[Any]) -> None:
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def append_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("it extends what is no list")
        self.stack[-1].extend(self.plain(item) for item in items)

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_known(f"{module} {name}"))

    def reduce(self) -> None:
        """Where a pickle would call a function: numpy's are imitated."""
        arguments, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, _Name):
            raise ValueError("it calls something")
        self.stack.append(_imitate(name.text, arguments))

    def build(self) -> None:
        """Where a pickle would restore an object: an array's content, or a dtype's details."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Array):
            _, shape, dtype, fortran, content = state
            target.value = _array(content, dtype, shape, "F" if fortran else "C")
        elif isinstance(target, _Dtype):
            order = {"<": "<", ">": ">", "|": "|"}[state[1]]
            self.stack[-1] = _Dtype(order + target.text)
            self.memo = {key: self.stack[-1] if held is target else held for key, held in self.memo.items()}
        else:
            raise ValueError("it restores an object")


_PUSHES_ARGUMENT = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_PUSHES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": _Mark,
}
_STEPS: dict[str, Callable[[_Machine], None]] = {
    "TUPLE1": lambda machine: machine.tuple_of(1),
    "TUPLE2": lambda machine: machine.tuple_of(2),
    "TUPLE3": lambda machine: machine.tuple_of(3),
    "TUPLE": lambda machine: machine.stack.append(tuple(machine.since_mark())),
    "LIST": lambda machine: machine.stack.append(machine.since_mark()),
    "DICT": lambda machine: machine.stack.append(_pairs(machine.since_mark())),
    "SETITEMS": lambda machine: machine.set_items(machine.since_mark()),
    "SETITEM": lambda machine: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "APPENDS": lambda machine: machine.append_items(machine.since_mark()),
    "APPEND": lambda machine: machine.append_items([machine.stack.pop()]),
    "STACK_GLOBAL": lambda machine: machine.stack_global(),
    "REDUCE": lambda machine: machine.reduce(),
    "BUILD": lambda machine: machine.build(),
}


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _known(name: str) -> _Name:
    if name not in _KNOWN:
        raise ValueError(f"it would call {name.replace(' ', '.')!r}; a Q table needs no such thing")
    return _Name(name)


def _imitate(name: str, arguments: tuple[Any, ...]) -> Any:
    if name in _RECONSTRUCT:
        return _Array()
    if name in _FROM_BUFFER:
        content, dtype, shape, order = arguments
        return _Array(_array(content, dtype, shape, order))
    if name in _SCALAR:
        dtype, content = arguments
        return _array(content, dtype, (), "C").item()
    if name == _DTYPE:
        return _Dtype(_number_kind(arguments[0]))
    if name == _ENCODE:
        text, encoding = arguments
        if encoding != "latin1":
            raise ValueError("it encodes a text in another way than numpy")
        return text.encode("latin1")
    raise ValueError(f"it would call {name}")


def _number_kind(text: str) -> str:
    kind = text.lstrip("<>|=")
    if kind not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
        raise ValueError(f"its array holds {text!r}, not numbers")
    return kind


def _array(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(content, (bytes, bytearray)):
        raise ValueError("its array holds objects, not numbers")
    return np.frombuffer(content, dtype.text).reshape(shape, order="F" if order == "F" else "C")
