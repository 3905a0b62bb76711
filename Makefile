# Everything runs in .venv inside the checkout, which the first target makes once.
#
#   make demo       run the sample TA: increment, hash, panic on purpose
#   make test       the tests that need nothing from outside; about 4 minutes on two cores
#   make test-real  the tests on TAs and tools nobody here wrote (fetched once, cached outside the checkout)
#   make xtest     OP-TEE's own test suite; CASES=... picks some of it
#   make fuzz       mutated inputs, for minutes
#   make lint       ruff and mypy
#   make libteec    the client library for C programs, libteec.so.2
#   make bench      measurements, as JSON
#   make samples    rebuild what comes prebuilt (TAs, QEMU's shim, agents) and compare bit for bit (needs the cross-compilers)
#   make wheel      dist/*.whl
#   make clean      remove what was built; make distclean: .venv as well
#
# PYTHON=... picks the interpreter (3.11 or later); PYTEST=... adds options for pytest; JOBS=... sets how many processes
# share the tests (three a processor if unset; PYTEST="-n 0" runs them in one).

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
BUILT := $(VENV)/.built

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

NATIVE := $(filter-out %/_native.c %/_unicorn.c %/_transport.c,$(shell find south tee normal_world -name '*.[ch]')) \
	$(wildcard south/engine/build_*.py tee/build_*.py normal_world/daemon/build_*.py)

LIBTEEC := $(VENV)/.libteec

# Many tests wait for processes, time-outs and disks, so three workers a processor keep it busy. Those that are free take
# tests from the longest queue.
JOBS ?= $(shell echo $$((3 * $$(nproc))))
SPREAD := -n $(JOBS) --dist worksteal

.PHONY: all libteec demo test test-real xtest fuzz lint format bench samples wheel clean distclean check-host
.DELETE_ON_ERROR:

all: $(BUILT) $(LIBTEEC)

# What cannot come from a Python package: a compiler, Python's headers and OpenSSL's.
check-host:
	@test -n "$(PYTHON)" || { echo "LiteBox needs Python 3.11 or later: make PYTHON=/path/to/python3" >&2; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "no C compiler; on Debian and Ubuntu: apt-get install gcc" >&2; exit 1; }
	@"$(PYTHON)" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || \
		{ echo "no Python.h for $(PYTHON); on Debian and Ubuntu: apt-get install python3-dev" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo '#include <openssl/evp.h>' | $${CC:-cc} $(CPPFLAGS) $(CFLAGS) -E -x c - >/dev/null 2>&1 || \
		{ echo "OpenSSL's headers (3.0 or later) are missing: <openssl/evp.h>" >&2; \
		  echo "  Debian and Ubuntu: apt-get install libssl-dev     Fedora: dnf install openssl-devel" >&2; \
		  echo "  without root: set CPATH and LIBRARY_PATH to the include and lib folders of an OpenSSL of yours" >&2; exit 1; }

$(INSTALLED): pyproject.toml setup.py | check-host
	test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	$(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		>$(VENV)/build-requires.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r $(VENV)/build-requires.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[dev]'
	touch $@ $(BUILT)

# The installation has built the extensions already; this is for what changed since.
$(BUILT): $(NATIVE) | $(INSTALLED)
	@test -e $@ && test -z "$$(find $(NATIVE) -newer $@)" || $(PY) setup.py --quiet build_ext --inplace --force
	@touch $@

# The client library for C and the agent that serves a board's TEE over a console, also for aarch64 and arm when their
# compilers are there.
libteec: $(BUILT)
	$(PY) -m normal_world.libteec
	$(PY) -m normal_world.agent.build
	@touch $(LIBTEEC)

$(LIBTEEC): normal_world/libteec.py $(wildcard normal_world/libteec/*.map normal_world/libteec/*/*.[ch]) \
		normal_world/agent/build.py $(wildcard normal_world/agent/csrc/*.[ch]) | $(BUILT)
	$(PY) -m normal_world.libteec
	$(PY) -m normal_world.agent.build
	@touch $@

demo: $(BUILT)
	@$(VENV)/bin/litebox-ta demo

test: $(BUILT)
	@echo "make test: some 3,000 tests in $(JOBS) processes, about 4 minutes on two quiet cores"
	$(PY) -m pytest -m 'not real and not fuzz' $(SPREAD) $(PYTEST)

test-real: $(BUILT)
	$(PY) -m pytest -m 'real and not fuzz' $(PYTEST)

# OP-TEE's own test suite against the daemon: a table, and JSON in the file that XTEST_JSON names.
xtest: $(BUILT) $(LIBTEEC)
	$(PY) -m tests.real.xtest $(CASES)

# Exit code 5 is pytest's for "no test was selected".
fuzz: $(BUILT)
	$(PY) -m pytest -m fuzz $(PYTEST) || test $$? -eq 5

lint: $(BUILT)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(BUILT)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(BUILT)
	$(PY) -m tests.bench $(BENCH)

samples: $(BUILT)
	$(PY) -m ta_loader.samples.build
	$(PY) -m tests.tas.cryptdrv.build
	$(PY) -m tests.tas.cxx.build
	$(PY) -m tests.tas.prof.build
	$(PY) -m tests.tas.asan.build
	$(PY) -m tests.tas.checks.build
	$(PY) -m south.qemu_arm.build
	$(PY) -m normal_world.agent.prebuilt

wheel: $(BUILT)
	rm -rf build dist
	$(PY) -m build --quiet --wheel --no-isolation --outdir dist .

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f tee/_native*.so south/engine/_unicorn*.so normal_world/_transport*.so tee/_native.c south/engine/_unicorn.c \
		normal_world/_transport.c $(BUILT)
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
