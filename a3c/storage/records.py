"""What a run writes about itself: JSON files replaced atomically, and one that only grows.

Numbers that are not finite become null, so that every JSON reader can read the files.
"""

from __future__ import annotations

import csv
import io
import json
import math
import numbers
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from a3c.files import open_file
from a3c.storage.atomic import read_regular, replace_file
from a3c.storage.sinks import Clock, Sink, append

MAX_JSON_BYTES = 2**22
MAX_DEPTH = 32
LONGEST_LINE_BYTES = 2**20
"""Longer ones are read in pieces, and those are no records."""


def write_json(path: Path, value: Mapping[str, Any], *, durable: bool = True) -> None:
    """Puts a JSON file in the place of the old one; see `replace_file`. Raises OSError."""
    text = json.dumps(_finite(value), indent=1, allow_nan=False)
    replace_file(path, (text + "\n").encode(), durable=durable)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises OSError, or ValueError for anything that is none."""
    value = parse_json(read_regular(path, MAX_JSON_BYTES))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def parse_json(data: bytes) -> Any:
    """What a file says in JSON. Raises ValueError, also for what no reader here could take: more than
    `MAX_DEPTH` levels, or numbers beyond 128 bits."""
    try:
        value = json.loads(data, parse_int=_whole, parse_float=_real)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for outer in level for item in _inside(outer)]
        if not level:
            return value
    raise ValueError("nested too deep")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) >= 2**128:  # what the state of a random generator takes
        raise ValueError("a number is too large")
    return number


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Puts a CSV file in the place of the old one. Raises OSError."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    replace_file(path, text.getvalue().encode(), durable=False)


class JsonLines:
    """Appends records to a file, one JSON object per line.

    A full or failing disk never stops the caller, see `Sink`. A line torn by a crash is left alone, on a line
    of its own.
    """

    def __init__(self, path: Path, clock: Clock = time.monotonic) -> None:
        self.path = path
        self._sink = Sink(self._open, clock)

    @property
    def dropped(self) -> int:
        """Records lost so far."""
        return self._sink.dropped

    @property
    def error(self) -> str:
        """Why the last record was dropped; empty when it was not."""
        return self._sink.error

    def append(self, record: Mapping[str, Any]) -> bool:
        """Writes one record; False when it had to be dropped."""
        return self._sink.write((json.dumps(_finite(record), allow_nan=False) + "\n").encode())

    def close(self) -> None:
        """Frees the descriptor; `append` takes a new one."""
        self._sink.close()

    def _open(self) -> int:
        fd = open_file(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                append(fd, b"\n")
        except OSError:
            os.close(fd)
            raise
        return fd


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, those beyond `LONGEST_LINE_BYTES` in pieces. Raises OSError."""
    with os.fdopen(open_file(path), "rb") as file:
        while line := file.readline(LONGEST_LINE_BYTES):
            yield line


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON-lines file in order, without torn or damaged lines. Raises OSError."""
    return records_in(read_lines(path))


def records_in(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The records among these lines, whatever the others are."""
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def _finite(value: Any) -> Any:
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, numbers.Integral):  # numpy's
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
