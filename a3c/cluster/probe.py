"""`python -m a3c.cluster.probe ADDRESS`: whether a Ray cluster takes this machine in; one line of JSON."""

from __future__ import annotations

import json
import sys

import ray

from a3c.cluster.connection import TROUBLES, connect


def main(address: str) -> None:
    """Prints {"address": HOST:PORT} or {"error": WORDS}."""
    try:
        connect(address)
        answer = {"address": ray.get_runtime_context().gcs_address}
    except TROUBLES as error:
        answer = {"error": str(error).splitlines()[0]}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
