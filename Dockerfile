# A server of dynexit, for CPUs:  docker build -t dynexit .  &&  docker run -p 8000:8000 dynexit
# Another model: docker run -p 8000:8000 -v "$PWD:/models:ro" dynexit /models/FILE.gguf
# Versions are those of constraints.txt; PyTorch comes without CUDA.
FROM python:3.11-slim-bookworm AS build
# hadolint ignore=DL3008  # Debian keeps no old versions
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python -m venv /opt/dynexit \
    && /opt/dynexit/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
       --constraint constraints.txt --build-constraint constraints.txt '.[serve]'

FROM python:3.11-slim-bookworm
# PyTorch's products use OpenMP.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 dynexit \
    && install --directory --owner dynexit /cache
COPY --from=build /opt/dynexit /opt/dynexit
ENV PATH=/opt/dynexit/bin:$PATH DYNEXIT_CACHE=/cache HF_HOME=/cache/hub PYTHONDONTWRITEBYTECODE=1
USER 10001
VOLUME /cache
EXPOSE 8000
# The model is loaded first, and what passes cost here is measured.
HEALTHCHECK --start-period=120s --interval=15s --timeout=5s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["dynexit", "serve", "--host", "0.0.0.0", "--port", "8000", "--log-format", "json"]
