# Everything a person needs: install, demo, test, lint, bench. Plain pip, one virtual environment in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint bench clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "making .venv ..."; $(PYTHON) -m venv .venv; }
	@echo "installing (some 700 MB with torch; a minute or two) ..."
	@$(BIN)/pip install --disable-pip-version-check --progress-bar on --quiet -c constraints.txt -e '.[demo,dev]'
	@touch $@
	@echo "installed: $(BIN)/image-worker"

demo: install
	@$(BIN)/image-worker demo

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist
