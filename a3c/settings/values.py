"""Values as people write them: times, counts, truths, and what is wrong with them.

Everything here raises ValueError with words that fit behind "--flag value: ".
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from a3c.errors import printable

_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COUNT_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
_NUMBER = r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
_LONGEST_SHOWN = 100  # characters of a value or a name in a message
_LARGEST_COUNT = 2**53  # beyond it a float, such as a counter in shared memory, is not exact


class Typed(str):
    """Text that a person typed in this very command, or the environment of a preset, which is part of the
    program. Only such text may name code to import: what is read from a file is plain text. It stays what it
    is in spawned processes, and is plain text in JSON."""

    __slots__ = ()


def typed(value: Any) -> Any:
    """A value of the command line, with all its texts `Typed`."""
    if isinstance(value, str):
        return Typed(value)
    if isinstance(value, dict):
        return {typed(key): typed(item) for key, item in value.items()}
    return [typed(item) for item in value] if isinstance(value, list) else value


def names_code(value: Any) -> bool:
    """Whether text in a value, that nobody typed, could be the name of a module or of something in one."""
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, str):
            if not isinstance(part, Typed) and ("." in part or ":" in part):
                return True
        elif isinstance(part, Mapping):
            parts += [*part, *part.values()]
        elif isinstance(part, (list, tuple)):
            parts += part
    return False


def parse_duration(text: str) -> float:
    """Seconds of "90", "90s", "10m", "1.5h", "2d" or "1h30m"."""
    words = text.strip().lower()
    if match := re.fullmatch(_NUMBER + r"([smhd]?)", words):
        return float(match[1]) * _DURATION_UNITS[match[2] or "s"]
    if match := re.fullmatch(r"(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", words):
        numbers = zip(match.groups("0"), "dhms", strict=True)
        return float(sum(int(number) * _DURATION_UNITS[unit] for number, unit in numbers))
    raise ValueError("not a time; write 90, 90s, 10m, 1.5h, 2d or 1h30m")


def parse_count(text: str) -> int:
    """Whole number of "1000", "1e6", "500k" or "10M"."""
    match = re.fullmatch(_NUMBER + r"([kmgb]?)", text.strip().lower().replace("_", ""))
    if not match:
        raise ValueError("not a number; write 1000, 1e6, 500k or 10M")
    return parse_whole(float(match[1]) * _COUNT_UNITS.get(match[2], 1))


def parse_bool(value: Any) -> bool:
    """True or False of a truth or the usual words."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError("not True or False")


def parse_key_value(text: str) -> tuple[str, Any]:
    """("mode", 1) of "mode=1"; the value is read as JSON (True, False and None too), else kept as text."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ValueError("not of the form key=value")
    try:
        return key, json.loads({"True": "true", "False": "false", "None": "null"}.get(value, value))
    except json.JSONDecodeError:
        return key, value
    except RecursionError:
        raise ValueError("nested too deep") from None


def parse_whole(value: Any) -> int:
    """A whole number of 5, 5.0 or "5"."""
    try:
        number = int(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, (int, float)) or number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError("not a whole number") from None
    if abs(number) > _LARGEST_COUNT:
        raise ValueError("too large")
    return int(number)


def parse_number(value: Any) -> float:
    """A finite number of 5, 5.0 or "5e-1"."""
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("not a number") from None
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def convert(value: Any, kind: Any, optional: bool, unit: str) -> Any:
    """`value` (from TOML, JSON or the command line) as a setting's type.

    Args:
        value: text, number, truth, list or table.
        kind: bool, int, float, str, tuple[int, ...] or a dict type.
        optional: whether None is a value too.
        unit: "duration" or "count" for numbers that may have a suffix, else "".
    """
    if value is None:
        if not optional:
            raise ValueError("may not be empty")
        return None
    if unit and isinstance(value, str):
        value = parse_duration(value) if unit == "duration" else parse_count(value)
    if kind is bool:
        return parse_bool(value)
    if kind is int:
        return parse_whole(value)
    if kind is float:
        return parse_number(value)
    if kind is str:
        return _text(value)
    return _numbers(value) if kind == tuple[int, ...] else _table(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return value


def _numbers(value: Any) -> tuple[int, ...]:
    """Device numbers; -1 alone is the old spelling for none."""
    items = value if isinstance(value, (list, tuple)) else [value]
    numbers = tuple(parse_whole(item) for item in items)
    return () if numbers == (-1,) else numbers


def _table(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, (list, tuple)):
        raise ValueError("not of the form key=value")
    return dict(parse_key_value(_text(item)) for item in value)


def check(value: Any, choices: Sequence[str], low: float | None, high: float | None) -> None:
    """Raises ValueError when `value`, or a number in it, is not among `choices` or within the bounds."""
    if choices and value is not None and value not in choices:
        hint = did_you_mean(str(value), choices) or f"; choose from {', '.join(choices)}"
        raise ValueError(f"not known{hint}")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            continue
        if low is not None and number < low:
            raise ValueError(f"below the least value, {low:g}")
        if high is not None and number > high:
            raise ValueError(f"above the greatest value, {high:g}")


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """ "; did you mean NAME?", or nothing when no known name is near."""
    names = list(known)
    near = difflib.get_close_matches(word[:_LONGEST_SHOWN], names, 1)
    near = near or [name for name in names if len(name) > 2 and word.startswith(name)]  # environment for env
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def shown(value: Any) -> str:
    """A value as it was typed; what may come from a stranger is cut and has no control characters."""
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    text = printable(text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
