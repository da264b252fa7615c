# Everything a person needs: install, demo, test, lint, bench. Plain pip, one virtual environment in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint bench hostile soak chaos clean

install: .venv/installed

# What was interrupted half way is made anew. pip would compile on one CPU; a file or two of torch are for a newer Python
# than this one, and do not compile.
.venv/installed: pyproject.toml constraints.txt
	@test ! -e .venv/installing || rm -rf .venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "making .venv ..."; $(PYTHON) -m venv .venv; }
	@rm -f $@ && touch .venv/installing
	@echo "installing (700 MB with a CPU build of torch, some gigabytes with PyPI's for x86-64) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[demo,dev]'
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	@mv .venv/installing $@ && touch $@
	@echo "installed: $(BIN)/image-worker"

demo: install
	@$(BIN)/image-worker demo

# Four processes, on two CPUs too: many tests wait for a broker. A file stays in one of them, since its tests share what is
# dear to start; in their order, since those with a broker take longest. Threads of torch that wait for one another must
# not do so on a CPU that another process could have; and what it compiles, it compiles in its own process, not in a pool
# of them, each of which loads torch first.
test: export OMP_WAIT_POLICY := passive
test: export TORCHINDUCTOR_COMPILE_THREADS := 1
test: install
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# QUICK=1: a tenth of the work, which shows that the benchmarks run and no more.
bench: install
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

# Pillow's odd and broken images and COUNT mutations of them through a real decode pool; about a minute.
hostile: install
	$(BIN)/python -m tests.hostile --seed $(or $(SEED),1) --count $(or $(COUNT),20000)

# The whole worker on 10,000 good images and 1,000 that kill, hang or bloat a decoder; some minutes.
soak: install
	$(BIN)/python -m benchmarks.soak $(if $(SEED),--seed $(SEED))

# Workers, brokers and image hosts fail at random, from SEED, for MINUTES; then the books must balance. An hour is
# MINUTES=60. Each group has RATE events a second (25).
chaos: install
	$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),2) $(if $(RATE),--rate $(RATE))

clean:
	rm -rf .venv build dist
