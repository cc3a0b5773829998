# The sidecar and the REST API in one image: gRPC on port 80, HTTP on port 8080.

FROM python:3.12.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY engine engine
COPY lua lua
COPY examples/ai-gateway.yaml examples/ai-gateway.yaml
RUN pip wheel --no-deps --wheel-dir /wheels .
# The environment has no pip of its own: nothing is installed once the image is made.
RUN python -m venv --without-pip /opt/headgate \
    && pip --python /opt/headgate/bin/python install --constraint constraints.txt \
        "$(echo /wheels/headgate-*.whl)[cli,rest,sidecar]"

FROM python:3.12.13-slim-bookworm
COPY --from=build /opt/headgate /opt/headgate
COPY docker/headgate.toml /etc/headgate/headgate.toml
ENV PATH=/opt/headgate/bin:$PATH \
    HEADGATE_CONFIG=/etc/headgate/headgate.toml \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 80 8080
# A number, so that Kubernetes can see for itself that it is not root.
USER 10001:10001
# Straight to this container, whatever proxy its variables name. It asks whether the process answers, not whether Redis does.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + (os.environ.get('HEADGATE_PORT') or '8080') + '/livez', timeout=2)"]
ENTRYPOINT ["headgate", "serve"]
