# make help lists the targets. Every target runs Python through $(PY).
PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= torch==2.13.0
NVCC   ?= nvcc
WORKERS ?= 3
TESTS  ?= tests
TEST_FLAGS ?=
CUDA_ARCHS ?= sm_80 sm_90 sm_100

KERNELS := caffe-fast-rcnn/python/caffe/kernels
EXTENSION_SOURCES := setup.py pyproject.toml $(wildcard $(KERNELS)/*.h $(KERNELS)/*.pyx lib/*/*.pyx)

ifeq ($(VENV),none)
PY := $(PYTHON)
STAMP := build/extensions.stamp
else
PY := $(VENV)/bin/python
STAMP := $(VENV)/installed.stamp
endif

.DEFAULT_GOAL := help
.PHONY: help install test check kernels demo clean

help:  ## List the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10
	@echo "VENV=none installs nothing: it uses PYTHON ($(PYTHON)) and only builds the extensions."

install: $(STAMP)  ## Create $(VENV), install the engine and its requirements, build the extensions

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed.stamp: $(VENV)/bin/python $(EXTENSION_SOURCES)
	$(PY) -m pip install --quiet --disable-pip-version-check "$(TORCH)" "setuptools>=77" "cython>=3.0"
	$(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[test,check,onnx,nvrtc]'
	@touch $@

build/extensions.stamp: $(EXTENSION_SOURCES)
	$(PY) setup.py --quiet build_ext --inplace
	@mkdir -p $(@D) && touch $@

test: install  ## Run the tests (TESTS=path, TEST_FLAGS="-m 'not slow'", WORKERS=n)
	OMP_NUM_THREADS=1 $(PY) -m pytest $(TESTS) $(TEST_FLAGS) \
	    $$($(PY) -c "import xdist" 2>/dev/null && echo "-n $(WORKERS) --dist loadfile --no-loadscope-reorder")

check: install  ## Lint (ruff) and check types (mypy)
	$(PY) -m ruff check .
	$(PY) -m mypy

kernels:  ## Compile every CUDA kernel with nvcc, if available
	@command -v $(NVCC) >/dev/null || { echo "make kernels: $(NVCC) not found. Only this target needs it: NVRTC compiles the kernels at run time."; exit 1; }
	@mkdir -p build/kernels
	@set -e; for arch in $(CUDA_ARCHS); do for source in $(KERNELS)/*.cu; do \
	    echo "$$arch $$(basename $$source)"; \
	    $(NVCC) -cubin -arch=$$arch -std=c++17 --fmad=false -Werror all-warnings \
	        -o build/kernels/$$(basename $$source .cu).$$arch.cubin $$source; \
	done; done

demo: install  ## Train a small detector on synthetic images and show what it detects
	$(PY) tools/demo_job.py

clean:  ## Remove build products from the checkout (not $(VENV))
	rm -rf build dist caffe-fast-rcnn/python/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find caffe-fast-rcnn lib -name '*.so' -delete
	rm -f $(KERNELS)/_cpu.cpp lib/*/*.cpp $(VENV)/installed.stamp
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
