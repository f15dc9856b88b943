# One image for every role: the command is a subcommand of `tokenwatt`.
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE tokenwatt.py ./
COPY collectors collectors
COPY dashboard dashboard
COPY storage storage
COPY config config
RUN UV_PROJECT_ENVIRONMENT=/opt/tokenwatt uv sync --frozen --no-dev --no-editable --compile-bytecode

FROM python:3.12-slim
RUN useradd --system --uid 10001 tokenwatt && mkdir /site && chown tokenwatt /site
COPY --from=build /opt/tokenwatt /opt/tokenwatt
USER tokenwatt
ENV PATH=/opt/tokenwatt/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["tokenwatt"]
CMD ["--help"]
