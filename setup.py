"""The compiled part; all else is in pyproject.toml."""

from setuptools import Extension, setup

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
            ["a3c/envs/screen.c"],
            extra_compile_args=["-O3", "-ffp-contract=off"],
            optional=True,
        )
    ]
)
