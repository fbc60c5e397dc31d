"""The compiled part; all else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # Plain C, loaded by a3c/pooling.py. Without a compiler the installation goes on, and PyTorch's own
        # kernels do the work.
        Extension("a3c._pooling", ["a3c/pooling.c"], extra_compile_args=["-O3"], optional=True)
    ]
)
