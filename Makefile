# Every target first builds .venv, which needs Python 3.11 or newer and pip, and nothing else.
#   make          the environment only
#   make demo     the shipped ticket on three chips: tables, figures and out/demo/report.html
#   make figures  the demo, then the README's figures and tables from it
#   make tickets  the result table of TICKETS (files or names, all of one data set: DATA) into model/tickets/results-DATA.json
#   make tickets-table  the tables and figures about tickets in the READMEs, from those files; nothing is simulated
#   make tickets-verify  every shipped ticket on two chips, spike by spike what its integer network gives, on 64 test images
#   make bench    how fast it is: a table and out/bench.json, some minutes (ROWS="start two_processes" renews some rows)
#   make performance   the bench, then the README's table from it
#   make exact-fronts  whole sweeps of the shipped spaces against their exact fronts, and what these save; half an hour
#   make oracle   the long comparison with the twin in Python: 5,000 cases, about an hour
#   make fuzz     10,000 damaged traces, tickets and spike files: none may do more than be refused; some minutes
#   make rtl      the long comparison with the twin in SystemVerilog (needs verilator, iverilog, yosys)
#   make cluster-test   sweeps on a local dask scheduler with two workers, one of which is killed; and sweeps killed 20 times
#   make codesign sweeps the space codesign, an hour or so on two cores (interrupted, it goes on), then the READMEs' figures of it
#   make contest  NSGA-II against random sampling on SPACE, looked up in SWEPT, the result file of a finished sweep of it
#   make area-table   the gates of the twin's blocks by Yosys, and their fit, into hwconfigs/area (BLOCKS for some); half an hour
#   make sram-table   the tables of hwconfigs/energy/README.md, how good the interpolation of memories is, and its figure
#   make test-clients  models of spikingjelly (two versions) and snnTorch, each from an environment of its own
#   make lint     ruff and mypy          make test   lint, then pytest          make clean   undo all of it

PYTHON ?= python3
OUT ?= out
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
EDITABLE := --no-build-isolation --config-settings editable_mode=strict

# What the package is made of: an editable install in strict mode, which mypy needs, links these one by one.
SOURCES := find . \( -path './.?*' -o -path ./build -o -path ./$(OUT) -o -path ./tests -o -name '*.egg-info' -o -name __pycache__ \) \
	-prune -o \( -name '*.py' -o -name '*.toml' -o -name '*.csv' -o -name '*.md' -o -name '*.html' -o -name '*.css' -o -name '*.js' -o -name '*.safetensors' \) -print | sort

.PHONY: install demo test test-clients bench performance exact-fronts oracle fuzz rtl cluster-test codesign contest area-table sram-table lint figures tickets tickets-table tickets-verify clean
install: .venv/.installed
	@$(SOURCES) | cmp --silent - .venv/.sources || { $(PIP) install --no-deps $(EDITABLE) --editable . && $(SOURCES) > .venv/.sources; }

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12"; exit 1; }
	@echo "installing into .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) install --constraint constraints.txt setuptools
	@$(PIP) install --constraint constraints.txt $(EDITABLE) --editable '.[dev]'
	@$(SOURCES) > .venv/.sources
	@touch $@

demo: install
	@$(BIN)/sparsespike demo --out $(OUT)/demo

figures: demo
	@$(BIN)/python -m sparsespike.analysis.readme $(OUT)/demo README.md

DATA ?= digits
TICKETS ?= digits-dense digits-pruned digits-tokens digits
CHIP ?= mesh16
IMAGES ?= 32
RESULTS := model/tickets/results-$(DATA).json
tickets: install
	@$(BIN)/sparsespike compare $(TICKETS) --data $(DATA) --images $(IMAGES) --hardware $(CHIP) --out $(OUT)/tickets-$(DATA)
	@cp $(OUT)/tickets-$(DATA)/results.json $(RESULTS).new && mv $(RESULTS).new $(RESULTS)

tickets-table: install
	@$(BIN)/python -m sparsespike.analysis.compare.readme README.md model/tickets/results-*.json
	@$(BIN)/python -m sparsespike.analysis.compare.readme model/tickets/README.md model/tickets/results-*.json

# Each name begins with its data set's; one whose data are not at hand ends the run.
VERIFIED ?= 64
tickets-verify: install
	@mkdir -p $(OUT)/verify
	@for data in digits fashion-mnist cifar10; do for ticket in $$(ls model/tickets | grep "^$$data.*safetensors$$"); do \
		ticket=model/tickets/$$ticket; echo "$$ticket" && $(BIN)/sparsespike trace $$ticket --data $$data --images $(VERIFIED) --out $(OUT)/verify/trace.safetensors > /dev/null \
		&& for chip in edge mesh16; do \
			$(BIN)/sparsespike simulate $(OUT)/verify/trace.safetensors --hardware $$chip --verify --json $(OUT)/verify/report.json \
				| grep verified || exit 1; \
		done || exit 1; done || exit 1; done

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p sparsespike

test: lint
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# Other people's libraries live in environments of their own, on top of the project's: its torch and numpy, their neurons.
CLIENTS := spikingjelly spikingjelly_0 snntorch
test-clients: $(CLIENTS:%=$(OUT)/clients/%/.installed)
	@for client in $(CLIENTS); do echo "$$client"; PYTHONPATH=tests $(OUT)/clients/$$client/bin/python -m pytest --quiet \
		--override-ini filterwarnings=default tests/clients/test_$$client.py || exit 1; done

$(OUT)/clients/%/.installed: tests/clients/%.txt | install
	@echo "installing the client $*"
	@$(BIN)/python -m venv $(OUT)/clients/$*
	@$(BIN)/python -c "import site; print(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')" \
		> "$$($(OUT)/clients/$*/bin/python -c "import site; print(site.getsitepackages()[0])")/project.pth"
	@$(OUT)/clients/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

# SANA-FE, the peer of the bench, lives in an environment of its own; without it its rows say so.
$(OUT)/sanafe/.installed: tests/bench/sanafe.txt
	@echo "installing SANA-FE into $(OUT)/sanafe"
	@{ $(PYTHON) -m venv $(OUT)/sanafe && $(OUT)/sanafe/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement $< && touch $@; } || echo "SANA-FE cannot be installed here: rows about it have no ratio"

bench: install $(OUT)/sanafe/.installed
	@PYTHONPATH=tests $(BIN)/python -m bench --out $(OUT) $(ROWS)

performance: bench
	@PYTHONPATH=tests $(BIN)/python -m bench.readme $(OUT)/bench.json README.md

exact-fronts: install
	@PYTHONPATH=tests $(BIN)/python -m bench.exact_fronts --out $(OUT)/exact_fronts $(SPACES)

oracle: install
	SPARSESPIKE_CASES=5000 $(BIN)/pytest tests/test_oracle.py tests/test_modes.py

fuzz: install
	SPARSESPIKE_MUTATIONS=10000 $(BIN)/pytest tests/test_fuzz.py

rtl: install
	SPARSESPIKE_RTL=long $(BIN)/pytest -s tests/test_rtl_mesh.py tests/test_rtl_blocks.py

cluster-test: install
	$(BIN)/pytest -s tests/test_cluster.py
	SPARSESPIKE_KILLS=20 $(BIN)/pytest -s tests/test_sweep_killed.py

codesign: install
	@$(BIN)/sparsespike sweep --space codesign --out $(OUT)/codesign.sqlite
	@$(BIN)/python -m sparsespike.analysis.explore.readme $(OUT)/codesign.sqlite codesign README.md analysis/README.md

SPACE ?= codesign
SWEPT ?= $(OUT)/$(SPACE).sqlite
contest: install
	@$(BIN)/python -m sparsespike.analysis.explore.search.contest $(SWEPT) --space $(SPACE) --budget 300 --seeds 5 --plots $(OUT)/contest

sram-table: install
	@$(BIN)/python -m sparsespike.analysis.sram_view hwconfigs/energy/README.md

area-table: install
	@PYTHONPATH=tests $(BIN)/python -m rtl.synthesise $(BLOCKS)

clean:
	rm -rf .venv build $(OUT) *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
