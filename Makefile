# Two commands for a fresh clone: `make demo` and `make test`. Each installs what it needs and no more.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Most modules are never imported: each is compiled when it first is.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

.PHONY: demo test test-slow lint format docs clean
.NOTPARALLEL:

demo: $(VENV)/.ready
	@$(BIN)/python examples/demo.py

test: $(VENV)/.dev
	$(PYTEST)

test-slow: $(VENV)/.dev $(VENV)/.ray
	$(PYTEST) --slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

$(VENV)/.ready: pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)
	$(PYTHON) -m venv --upgrade-deps $(VENV)
	$(INSTALL) -e .
	touch $@

# An extra of the package that is there already, which is not built again for it.
$(VENV)/.%: $(VENV)/.ready
	$(INSTALL) 'dynexit[$*]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist site
