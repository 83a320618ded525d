# The gateway as a container image; docs/kubernetes.md says how to build, run and check it.
#
# BASE_IMAGE is anything with Python 3.11 or newer, its `venv`, glibc and the system's certificate
# authorities. Both stages start from it, since a virtual environment names its interpreter.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /src
COPY requirements.lock requirements-image.lock ./
# Every package by its hash. The optional secret `pip` is a pip.conf: a mirror, certificates, no index at all.
# pip leaves the environment again: nothing in the image installs anything.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements-image.lock \
    && python3 -m venv /opt/tunegate \
    && /opt/tunegate/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
RUN /build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/tunegate/bin/pip install --no-cache-dir --no-index --no-deps /wheels/*.whl \
    && /opt/tunegate/bin/pip uninstall --yes --quiet pip \
    && rm -rf /opt/tunegate/lib/python3*/site-packages/setuptools* \
              /opt/tunegate/lib/python3*/site-packages/pkg_resources \
              /opt/tunegate/lib/python3*/site-packages/_distutils_hack \
              /opt/tunegate/lib/python3*/site-packages/distutils-precedence.pth \
    && install -d -m 0700 -o 10001 -g 10001 /rootfs/var/lib/tunegate

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Tunegate" \
      org.opencontainers.image.description="The OpenAI-compatible inference gateway for fine-tuned models" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/tunegate /opt/tunegate
COPY --from=build --chown=10001:10001 /rootfs/var/lib/tunegate /var/lib/tunegate
COPY config/container.yaml /etc/tunegate/gateway.yaml
# Its byte code is in the image: the root file system may be read-only.
ENV PATH=/opt/tunegate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/tunegate
VOLUME ["/var/lib/tunegate"]
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python3", "-I", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["tunegate"]
CMD ["serve", "--config", "/etc/tunegate/gateway.yaml"]
