"""The compiled part; all else is in pyproject.toml."""

import zlib
from pathlib import Path

from setuptools import Extension, setup

SCREEN = "a3c/envs/screen.c"

setup(
    ext_modules=[
        # Plain C, loaded by a3c/networks/pooling.py. Without a compiler the installation goes on, and
        # PyTorch's own kernels do the work.
        Extension(
            f"a3c.networks._pooling_{kind}",
            ["a3c/networks/pooling.c"],
            define_macros=[(kind.upper(), "1")],
            extra_compile_args=["-O3"],
            optional=True,
        )
        for kind in ("bfloat16", "float32")
    ]
    + [
        # The same, loaded by a3c/envs/screen.py. OpenCV's sums are not fused either.
        Extension(
            "a3c.envs._screen",
            [SCREEN],
            define_macros=[("SOURCE", f"{zlib.crc32((Path(__file__).parent / SCREEN).read_bytes())}u")],
            extra_compile_args=["-O3", "-ffp-contract=off"],
            optional=True,
        )
    ]
)
