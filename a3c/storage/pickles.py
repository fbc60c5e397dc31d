"""What a pickle of torch's describes, without doing what it says.

A pickle is a program for a machine that may call anything. This machine knows the few instructions that torch
writes, and calls nothing: for a tensor it notes down which bytes it is made of.
"""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

MAX_INTEGER = 2**63
_MOST_ARGUMENTS = 10

_KNOWN = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor(_v[23])?|parameter)|torch Size|torch device"
    r"|_codecs encode|__builtin__ (frozen)?set"  # bytes and sets beside the weights, which nobody needs
    r"|torch \w+Storage|torch\.storage (Untyped|Typed)Storage|torch \w*(float|int|bool|complex)\w*"
)


_CALLS = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"}


class Refusal(ValueError):
    """With words for the user."""


class Name(NamedTuple):
    """What would be a function or a class."""

    name: str


class Storage(NamedTuple):
    """Some memory of one kind of numbers."""

    kind: str
    key: str
    start: int  # in numbers; other than 0 in files of before torch 0.4 alone


class StoredTensor(NamedTuple):
    """A tensor in the file."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    kind: str


class PickleMachine:
    """Follows pickles and calls nothing: each instruction makes one thing of its argument and of what is on
    the stack, and what it may cost is in proportion to what was put there. Keys of dictionaries are text or
    numbers: to hash anything else may take for ever."""

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
                exactly(list, stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._last(2) if name == "SETITEM" else self._since_mark()
                _put(exactly(dict, stack[-1]), zip(items[::2], items[1::2], strict=True))
            case "GLOBAL":
                stack.append(Name(_known(argument)))
            case "BINPERSID":
                stack.append(self._storage(*_few(stack.pop())))
            case "REDUCE":
                function, arguments = self._last(2)
                stack.append(_called(exactly(Name, function).name, *_few(arguments)))
            case "BUILD":  # a state dict's versions of its modules, which nobody needs
                stack.pop()
                exactly(dict, stack[-1])
            case _ if name in _CALLS:
                raise Refusal(f"it would call {str(argument or name)[:60]!r}")
            case _:
                raise Refusal(f"its pickle is of another form than torch writes ({name})")

    def _last(self, count: int) -> list[Any]:
        return self._from(len(self._stack) - count)

    def _since_mark(self) -> list[Any]:
        return self._from(self._marks.pop())

    def _from(self, start: int) -> list[Any]:
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _storage(self, what: str, kind: Name, key: str, *more: Any) -> Storage:
        """Of ("storage", type, key, location, count), once followed by a part that is meant."""
        _, _, view = (*more, None)[:3]
        if what != "storage":
            raise Refusal("it holds a module, not its state dict")
        known = self.kinds.setdefault(exactly(str, key), exactly(Name, kind).name)
        if known != kind.name:
            raise Refusal("it takes the same bytes for numbers of several kinds")
        return Storage(known, key, exactly(tuple, view)[1] if view else 0)


def exactly(kind: type, value: Any) -> Any:
    """The value. Raises TypeError unless it is exactly of this kind."""
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} in the place of {kind.__name__}")
    return value


def _few(arguments: Any) -> tuple[Any, ...]:
    if len(exactly(tuple, arguments)) > _MOST_ARGUMENTS:
        raise Refusal("it would call something with too many arguments")
    return tuple(arguments)


def _known(name: str) -> str:
    if not _KNOWN.fullmatch(name):
        raise Refusal(f"it would call {name[:60]!r}")
    return name


def _put(target: dict[Any, Any], items: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """The dictionary, which has more items now."""
    for key, value in items:
        if type(key) is not str and not (type(key) is int and abs(key) < MAX_INTEGER):
            raise Refusal(f"a dictionary in it has a {type(key).__name__} for a key")
        target[key] = value
    return target


def _called(name: str, *arguments: Any) -> Any:
    """What stands for the result of a known function."""
    match name.rpartition(" ")[2], arguments:
        case "OrderedDict", ():
            return {}
        case "OrderedDict", (list() as items,):  # of Python 2
            pairs, items[:] = items[:], []  # used once: else a few bytes would make as many again
            return _put({}, pairs)
        case "Size", (size,):
            return size
        case "_rebuild_parameter", (StoredTensor() as tensor, *_):
            return tensor
        case "_rebuild_tensor" | "_rebuild_tensor_v2", (Storage() as storage, offset, size, stride, *more):
            if len(more) > 2 and more[2]:  # that its numbers are to be negated, or conjugated
                raise Refusal("it holds tensors that are not stored as they are")
            return StoredTensor(storage, offset, size, stride, storage.kind)
        case "_rebuild_tensor_v3", (Storage() as storage, offset, size, stride, _, _, Name(kind), *_):
            return StoredTensor(storage, offset, size, stride, kind)
    return Name(name)
