# docker build -t xright .                                                    with torch as the index has it: CUDA's build
# docker build -t xright --build-arg TORCH_INDEX=… .                          with another build, such as torch's for CPUs
# docker build -t xright --build-arg BASE=nvidia/cuda:13.0.2-runtime-ubuntu24.04 .
# docker run --rm -v $PWD/runs:/app/runs xright strategy=alright lam=0.25,0.5,0.75 -m
ARG BASE=python:3.11-slim
FROM ${BASE}

# A Debian or Ubuntu base without Python gets its own: the version that this base has.
# hadolint ignore=DL3008
RUN command -v python3 >/dev/null || (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*)
RUN python3 -m venv /opt/xright
ENV PATH=/opt/xright/bin:$PATH WANDB_MODE=offline

# torch first, by itself: its layer is the largest and changes least. The pin is that of constraints.txt.
ARG TORCH_INDEX
COPY constraints.txt /tmp/
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url $TORCH_INDEX} "$(grep '^torch==' /tmp/constraints.txt)"

COPY pyproject.toml README.md LICENSE /src/
COPY xright /src/xright
COPY conf /src/conf
RUN pip install --no-cache-dir -c /tmp/constraints.txt '/src[evaluation]' && rm -rf /src

# Runs and the cache stand in /app: mount it, or lose them with the container.
WORKDIR /app
ENV XRIGHT_CACHE=/app/cache HOME=/tmp
ENTRYPOINT ["python", "-m", "xright.run"]
