# Everything starts from a clone, Python 3.11 or later, and make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-arviz1 check accept bench docs

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# Compile and fit a variational autoencoder on the bundled digits; see runs/vae/.
demo: $(VENV)/.installed
	$(BIN)/dgmppl explain specs/vae.yaml
	rm -rf runs/vae
	$(BIN)/dgmppl fit specs/vae.yaml --backend numpyro --out runs/vae
	@ls runs/vae

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

# ArviZ 1.x needs Python 3.12: NumPyro alone, in an environment of its own; see tests/workflow/test_arviz1.py.
PYTHON312 ?= python3.12
ARVIZ1 = .venv-arviz1

$(ARVIZ1)/.installed: pyproject.toml
	@command -v $(PYTHON312) > /dev/null || { echo "ArviZ 1.x needs $(PYTHON312): make test-arviz1 PYTHON312=PATH"; exit 1; }
	test -x $(ARVIZ1)/bin/python || $(PYTHON312) -m venv $(ARVIZ1)
	$(ARVIZ1)/bin/python -m pip install --quiet --editable ".[numpyro]" "arviz>=1" pytest
	touch $@

test-arviz1: $(VENV)/.installed $(ARVIZ1)/.installed
	DGMPPL_ARVIZ1_PYTHON=$(CURDIR)/$(ARVIZ1)/bin/python $(BIN)/python -m pytest tests/workflow/test_arviz1.py

# Format, lint, types, and who may import whom.
check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Rewrite the golden files from what the compiler says now; read the diff before committing it.
accept: $(VENV)/.installed
	DGMPPL_ACCEPT=1 $(BIN)/python -m pytest tests/golden

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

# The language reference: every closed table, as its declarations say it.
docs: $(VENV)/.installed
	mkdir -p docs/reference
	for table in $$($(BIN)/dgmppl list | cut -d' ' -f1); do \
	  { echo "# $$table"; echo; echo '```text'; $(BIN)/dgmppl list $$table; echo '```'; } > docs/reference/$$table.md; \
	done
	$(BIN)/dgmppl schema --out specs/schema.json
