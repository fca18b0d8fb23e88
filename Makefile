# Everything happens in .venv, made from the first Python that is new enough. Another one: make demo PYTHON=/usr/bin/python3.12

BIN = .venv/bin
PYTHONS = $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
PIP = $(BIN)/python -m pip --disable-pip-version-check
LOWEST = cli spec convert tokenize tokenize_labels tokenize_tars codec search images_read images_write text sample train evaluate
RECENT = import sys; sys.exit(sys.version_info < (3, 11))

.PHONY: help demo test slow lint lowest clean
.NOTPARALLEL:  # two installations at once would disturb each other

help:
	@echo "make demo    install, and make the pictures in demo/"
	@echo "make test    install with what development needs, and run the tests"
	@echo "make slow    run the tests that take minutes"
	@echo "make lint    look for mistakes and long lines"
	@echo "make lowest  run tests with the oldest versions that pyproject.toml admits, in an environment of their own, .lowest/"
	@echo "make clean   delete demo/ and what tools have left; .venv/ and runs/ stay"

demo: .venv/installed
	$(BIN)/bitmosaic demo --out demo

test: .venv/installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal

slow: .venv/installed-dev
	$(BIN)/python -m pytest -m slow

lint: .venv/installed-dev
	$(BIN)/python -m ruff check .

lowest: $(BIN)/python
	$(BIN)/python -m venv --clear .lowest
	$(BIN)/python tests/lowest.py > .lowest/pins.txt
	.lowest/bin/python -m pip --disable-pip-version-check install -r .lowest/pins.txt
	PYTHONPATH=src .lowest/bin/python -m pytest -o filterwarnings= $(addprefix tests/test_,$(addsuffix .py,$(LOWEST))) tests/studio/test_studio.py

clean:
	rm -rf demo build .lowest dist src/bitmosaic.egg-info .pytest_cache .ruff_cache
	find . -name .venv -prune -o -name __pycache__ -prune -exec rm -rf {} +

.venv/installed: pyproject.toml constraints.txt $(BIN)/python
	$(PIP) install -c constraints.txt -e .
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt $(BIN)/python
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch .venv/installed $@

$(BIN)/python:
	@recent=; \
	for python in $(PYTHONS); do \
		"$$python" -c '$(RECENT)' 2>/dev/null || continue; \
		recent="$$python"; \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
		echo "making .venv with $$("$$python" --version), $$python"; \
		exec "$$python" -m venv --clear .venv; \
	done; \
	if [ "$$recent" ]; then \
		echo "$$recent cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv" >&2; \
	else \
		echo "no Python of at least 3.11 among: $(PYTHONS); install one, or name it: make PYTHON=/path/to/python3" >&2; \
	fi; \
	exit 1
