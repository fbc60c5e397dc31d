"""The pipe between a child and the main process, from both ends."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator

import numpy as np
import pytest

from a3c.processes.child import Link
from a3c.processes.spawning import Inbox, Message

Ends = tuple[Link, Inbox, int]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A link, the inbox it writes to, and its descriptor for raw bytes."""
    reader, writer = multiprocessing.get_context("spawn").Pipe(duplex=False)
    with reader, writer:
        yield Link(writer), Inbox(reader), writer.fileno()


def test_what_is_told_arrives(ends):
    link, inbox, _ = ends
    link.ready()
    link.event("score", {"mean": np.float32(1.5), "all": np.arange(3), "odd": Ellipsis, "nothing": None})
    link.warning("two\nlines")
    link.done()
    payload = {"mean": 1.5, "all": [0, 1, 2], "odd": "Ellipsis", "nothing": None}
    assert inbox.receive() == [
        Message("ready", {}),
        Message("event", {"kind": "score", "payload": payload}),
        Message("warning", {"text": "two\nlines"}),
        Message("done", {}),
    ]
    assert inbox.receive() == []


def test_an_error_brings_its_traceback_and_context(ends):
    link, inbox, _ = ends
    link.context(worker=3, seeds=[1, 2])
    link.context(step=17)
    try:
        raise KeyError("a\nb")
    except KeyError as error:
        link.error(error, permanent=True)
    (message,) = inbox.receive()
    assert message.type == "error"
    assert message.body["context"] == {"worker": 3, "seeds": [1, 2], "step": 17}
    assert message.body["summary"] == r"KeyError: 'a\nb'"
    assert message.body["outcome"] == "permanent"
    assert "test_an_error_brings" in message.body["traceback"]


def test_f03_half_a_message_does_not_block(ends):
    _, inbox, raw = ends
    os.write(raw, b'["rea')
    assert inbox.receive() == []
    os.write(raw, b'dy", {}]\n["do')
    assert inbox.receive() == [Message("ready", {})]


@pytest.mark.parametrize(
    "line", [b"", b"\x80\x04\x95", b"null", b"[1, 2, 3]", b'["a", 5]', b'["a"]', b"[" * 100_000, b"\xff"]
)
def test_f03_garbage_is_told_as_such(ends, line):
    _, inbox, raw = ends
    os.set_blocking(raw, False)
    messages, data = [], line + b'\n["ready", {}]\n'
    while data:
        data = data[os.write(raw, data) :]
        messages += inbox.receive()
    assert messages == [Message("garbage", {}), Message("ready", {})]


def test_a_line_without_an_end_is_dropped(ends):
    _, inbox, raw = ends
    messages = []
    for _ in range(40):
        os.write(raw, b"x" * 60_000)
        messages += inbox.receive()
    assert {message.type for message in messages} == {"garbage"}
    assert len(inbox._rest) <= 1_000_000


def test_nobody_listens(ends):
    link, inbox, _ = ends
    inbox.close()
    link.event("score", {})
