# A training in a container, on the CPU:
#
#   docker build -t a3c .
#   docker run --init --shm-size=1g --stop-timeout 60 -v a3c-runs:/home/a3c/checkpoints a3c run --preset cartpole-ppo
#
# With a GPU, by the build of PyTorch for its CUDA (`--gpus all` needs the NVIDIA Container Toolkit):
#
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 -t a3c:cuda .
#   docker run --gpus all --init --shm-size=1g --stop-timeout 60 -v a3c-runs:/home/a3c/checkpoints a3c:cuda run --gpu-ids 0
#
# docs/operations.md says what the options are for.

FROM python:3.12-slim AS base
# What OpenCV's library is linked with; all else is in the wheels.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 a3c \
    && install --directory --owner=a3c --group=a3c /home/a3c/checkpoints
WORKDIR /home/a3c

FROM base AS compiler
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=$TORCH_INDEX PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# For .devcontainer: the environment is then made by make setup, in the mounted project.
FROM compiler AS dev
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make procps tmux \
    && rm -rf /var/lib/apt/lists/*
USER a3c

FROM compiler AS build
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/a3c && /opt/a3c/bin/pip install -c constraints.txt torch
COPY pyproject.toml setup.py README.md LICENSE ./
COPY a3c a3c
COPY evaluators evaluators
# As in --build-arg EXTRAS=,cluster
ARG EXTRAS=
RUN /opt/a3c/bin/pip install -c constraints.txt ".[tune,hub,box2d,track$EXTRAS]"

FROM base
COPY --from=build /opt/a3c /opt/a3c
ENV PATH=/opt/a3c/bin:$PATH
USER a3c
VOLUME /home/a3c/checkpoints
ENTRYPOINT ["a3c"]
CMD ["--help"]
