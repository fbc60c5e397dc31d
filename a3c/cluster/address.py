"""The address of a Ray cluster."""

from __future__ import annotations

import socket

from a3c.errors import UsageError

_CONNECT_S = 5.0


def check_address(address: str) -> None:
    """Whether somebody listens there, which Ray itself would take minutes to say no to. Raises UsageError."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 2**16):
        raise UsageError(f"--cluster {address}: it is HOST:PORT, such as 10.0.0.1:6379, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, UnicodeError) as error:  # the latter: a name with an empty or too long part
        words = getattr(error, "strerror", "") or error
        raise UsageError(
            f"--cluster {address}: nobody answers there ({words}); start one with "
            "`ray start --head` on one machine and `ray start --address HOST:PORT` on the others, this one "
            "among them"
        ) from error
