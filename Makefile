# Everything a newcomer needs: `make demo`, `make test`. Both work in a fresh clone with Python >= 3.11 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
# Tests that compare scores, losses, gradients or weights: processors differ in the last bits of these.
NUMERIC := $(addprefix tests/,baselines evaluation experiment metrics models scoring test_recommender.py tuning)

.PHONY: demo test test-slow test-browser test-extras test-docs docs pictures notebook check package bench install clean

demo: $(STAMP)  ## install, then run the quickstart end to end; it ends with a table and runs/quickstart/report.html
	$(BIN)/recalign run experiments/quickstart.toml --output runs/quickstart
	@echo
	@echo "What to try next:"
	@echo "  open runs/quickstart/report.html in a browser: what was tuned, and whether it beats the priors"
	@echo "  $(BIN)/recalign serve runs/quickstart/models/it-cot-rt      # a page to click through"
	@echo "  your own ratings: docs/own-data.md; all commands: $(BIN)/recalign --help"

test: $(STAMP)  ## the fast tests, in two processes of one thread (WORKERS=4 where there are more cores)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

test-slow: $(STAMP)  ## the tests marked slow; and those of numbers again, as on a processor without AVX-512
	$(BIN)/python -m pytest -m slow
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(NUMERIC)

test-browser: $(VENV)/.browser  ## the server's page in Chromium (apt-get install chromium); skipped where there is none
	$(BIN)/python -m pytest -m browser tests/serving/page

test-extras: $(VENV)/.extras  ## what needs further packages: Ray, an S3 server, experiment trackers
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile -m extras

test-docs: $(VENV)/.notebook  ## every command of README and docs/, in order, without a network; and the notebook
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist load -m docs tests/pages

docs: $(VENV)/.docs  ## the documentation as a site; a broken link, anchor or name fails. build/docs/html/index.html
	$(BIN)/python docs/site/build.py
	$(BIN)/python -m pytest -m extras tests/test_site.py

notebook: $(VENV)/.notebook  ## the notebooks of docs/tutorials from their scripts, executed
	$(BIN)/python tests/pages/notebook.py

pictures: $(VENV)/.browser  ## README's pictures, of the quickstart's report and of the page (apt-get install chromium)
	$(BIN)/recalign run experiments/quickstart.toml --output runs/quickstart
	$(BIN)/python docs/site/pictures.py

bench: $(STAMP)  ## speed and memory against references; needs RECALIGN_DATA and an otherwise idle machine
	$(BIN)/python benchmarks/ranking.py
	$(BIN)/python benchmarks/ranking.py --dtype bf16
	$(BIN)/python benchmarks/ranking.py --users 1 --items 1682 --extrapolate 40 --repeats 1
	$(BIN)/python benchmarks/tuning.py
	$(BIN)/python benchmarks/tuning.py --dtype bf16
	$(BIN)/python benchmarks/preparation.py
	$(BIN)/python benchmarks/candidates.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/retrieval.py
	$(BIN)/python benchmarks/recency.py
	$(BIN)/python benchmarks/bulk.py --threads 1
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/peers.py --gguf "$(SMOLLM2)"  # skips without SMOLLM2=FILE, llama-cpp-python or the checkpoint

package: $(VENV)/.package  ## build wheel and sdist, check them, install the wheel into an empty environment and use it there
	rm -rf dist build/wheel-env
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(PYTHON) -m venv build/wheel-env
	build/wheel-env/bin/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	build/wheel-env/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	build/wheel-env/bin/python -m pip check
	deploy/try-wheel.sh build/wheel-env/bin/recalign

check: $(STAMP)  ## static: style, types, import contract
	$(BIN)/ruff check src tests docs/site
	$(BIN)/ruff format --check src tests docs/site
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(STAMP)

# torch first and alone: a looser range would pull a build with gigabytes of CUDA packages.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.browser: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt playwright axe-playwright-python
	@touch $@

$(VENV)/.extras: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev-extras]'
	@touch $@

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev-docs]'
	@touch $@

$(VENV)/.notebook: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev-notebook]'
	@touch $@

$(VENV)/.package: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt build twine check-wheel-contents
	@touch $@

clean:
	rm -rf $(VENV) build dist runs .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
