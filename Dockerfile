# tfpdu with CUDA. The CUDA libraries come with tensorflow[and-cuda]; the host needs a driver and NVIDIA's container toolkit.
#
#   docker build -t tfpdu .
#   docker run --rm --gpus all -v tfpdu-runs:/runs -v tfpdu-data:/data tfpdu run --config=cifar10:gpu --workdir=/runs/cifar10
#
# Without a GPU: docker build --build-arg EXTRAS=serving -t tfpdu:cpu .

ARG PYTHON=python:3.11.13-slim-bookworm

FROM ${PYTHON} AS wheel
WORKDIR /src
COPY setup.py pyproject.toml README.md LICENSE constraints.txt ./
COPY tfpdu tfpdu
COPY configs configs
COPY docker docker
RUN docker/build_wheel.sh /wheels

FROM ${PYTHON} AS packages
ARG EXTRAS=gpu,serving
RUN python -m venv /opt/tfpdu
ENV PATH=/opt/tfpdu/bin:$PATH
COPY constraints.txt /src/constraints.txt
COPY docker /src/docker
COPY --from=wheel /wheels /wheels
RUN --mount=type=cache,target=/root/.cache/pip /src/docker/install.sh "$(ls /wheels/tfpdu-*.whl)" "${EXTRAS}"

FROM ${PYTHON}
LABEL org.opencontainers.image.title="tfpdu" org.opencontainers.image.licenses="Apache-2.0"
# A fixed user, so that what it writes to a volume has one owner.
RUN groupadd --gid 10001 tfpdu && useradd --uid 10001 --gid 10001 --home-dir /home/tfpdu --create-home tfpdu \
 && install -d -o tfpdu -g tfpdu /runs /models /data /cache
COPY --from=packages /opt/tfpdu /opt/tfpdu
COPY docker /opt/tfpdu/docker
ENV PATH=/opt/tfpdu/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    TFDS_DATA_DIR=/data \
    TFPDU_CACHE=/cache/tfpdu \
    KERAS_HOME=/cache/keras \
    MPLCONFIGDIR=/cache/matplotlib \
    XDG_CACHE_HOME=/cache
USER tfpdu
RUN /opt/tfpdu/docker/check.sh all
WORKDIR /runs
# No data, and no weights but the generators that come with tfpdu: the rest is on volumes.
VOLUME ["/runs", "/models", "/data", "/cache"]
HEALTHCHECK --interval=60s --timeout=30s --start-period=30s CMD ["/opt/tfpdu/docker/check.sh"]
ENTRYPOINT ["tfpdu"]
CMD ["--help"]
