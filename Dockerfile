# Two images: `--target cpu` (the default) and `--target cuda`. Both hold the demo's model and photographs.
#
# PyPI's x86-64 wheel of torch brings CUDA, some gigabytes that the cpu image has no use for. Name PyTorch's own index
# of CPU builds (pytorch.org, "Get started") to leave them out:
#   docker build --build-arg TORCH_INDEX_URL=... .

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/image-worker
ENV PATH=/opt/image-worker/bin:$PATH
WORKDIR /src
COPY constraints.txt ./

FROM build AS build-cpu
ARG TORCH_INDEX_URL=""
RUN pip install --no-deps ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY worker worker
RUN pip install -c constraints.txt '.[demo,objects,heic,onnx]'

FROM build AS build-cuda
RUN pip install -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY worker worker
RUN pip install -c constraints.txt '.[demo,objects,heic,onnx]'

FROM python:3.11.14-slim-bookworm AS runtime
RUN useradd --uid 10001 --create-home worker
ENV PATH=/opt/image-worker/bin:$PATH PYTHONUNBUFFERED=1
USER worker
WORKDIR /home/worker
EXPOSE 9108
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9108/livez', timeout=4)"]
# The exec form: SIGTERM reaches the worker itself, which drains.
ENTRYPOINT ["image-worker"]
CMD ["run"]

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/image-worker /opt/image-worker

FROM runtime AS cpu
COPY --from=build-cpu /opt/image-worker /opt/image-worker
