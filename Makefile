# Thin verbs over the command line; `make` alone sets up, exports and validates the bundled model.
MODEL      ?= efficientmod_xxs
# Another network than MODEL: package.module:function, or hf:DIR.
NETWORK    ?=
CHECKPOINT ?=
FETCHED    := data/imagenette/imagenette2-320
DATA       ?= $(or $(MOBILEMOD_DATA),$(wildcard $(FETCHED)))
# Linux on ARM has no build of what writes the others.
TARGETS    ?= $(if $(filter Linux-aarch64,$(HERE)),executorch,executorch,tflite,coreml)
RECIPE     ?= cpu
OUT        ?= dist/$(MODEL)
LIMIT      ?=
MAX_DROP   ?=
CLASSES    ?=
SPLIT      ?=
AUDIT_ONLY ?=
AGREEMENT  ?=
IMAGES     ?=
MAX_MEAN_DROP ?=
QAT        ?=
CONFIG     ?=
GATES      ?=
SUSTAINED  ?=
RUN        ?= runs/$(MODEL)$(if $(QAT),-$(basename $(notdir $(QAT))))
DEVICE     ?= host
THREADS    ?= 1
# Anything: a device of the tests is emulated and plugged in for `validate`, see docs/harness-adb.md.
ADB_EMULATED ?=
ARM64      ?= $(or $(MOBILEMOD_ARM64),.arm64)
QNN        ?= $(or $(MOBILEMOD_QNN),.qnn)
# Chips to compile for, by commas.
SOC        ?= SM8750
# Where SwiftShader lies; WITH_GPU=1: `validate` runs files on a GPU too.
GPU        ?= $(or $(MOBILEMOD_GPU),.gpu)
WITH_GPU   ?=
# Environments of their own, for packages that need others' older versions.
ONNX2TF    ?= $(or $(MOBILEMOD_ONNX2TF),.venv-onnx2tf)
TFLITE_RUNTIME ?= $(or $(MOBILEMOD_TFLITE_RUNTIME),.venv-tflite-runtime)
# tflite-runtime: `validate` runs `.tflite` files in it too.
RUNTIME    ?=
BENCH_MODELS ?= efficientmod_xxs
BENCH_OUT  ?= build/latency
APPS       ?= web,android,ios
WEB        := apps/web
VENV       ?= .venv
# The first Python on the path that the lock file has wheels for.
PYTHON     ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
  && echo "$$p" && break; done)
# PyTorch's build for the CPU, from pip's own configuration, else from PyTorch's index. PyPI's is it
# on macOS.
TORCH       := 2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
HERE        := $(shell uname -s)-$(shell uname -m)

BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip install --quiet --disable-pip-version-check
CLI  := $(BIN)/mobilemod
PYTEST := $(BIN)/python -m pytest --durations=15
# How many test processes at a time.
JOBS ?= 2
BESIDE := -n $(JOBS) --dist loadfile
# Those of the tests that run alone, so that no other file is imported for them.
ALONE = $(shell grep -rlE "mark\.alone" --include="test_*.py" tests)
AROUND := $(if $(ADB_EMULATED),$(BIN)/python -m tests.adbd.around)
DATA_OPTION := $(if $(DATA),--data "$(DATA)" $(if $(CLASSES),--classes "$(CLASSES)"))
MEASURED    := $(DATA_OPTION) $(if $(SPLIT),--split "$(SPLIT)")

.PHONY: all setup data train export validate stress search inspect report bench arm64 gpu swift coreai qnn \
  onnx2tf tflite-runtime compile bench-setup bench-latency web apps test-apps test test-slow test-long lint clean
.DELETE_ON_ERROR:

all:
	@echo "mobilemod: about 4 minutes and 3 GB for the environment where it is missing, then 10 to" \
	  "25 minutes on 2 cores to export, and to validate on every image (LIMIT=200 takes 3)"
	@$(MAKE) --no-print-directory setup
	@test -n "$(DATA)" || $(MAKE) --no-print-directory data
	@$(MAKE) --no-print-directory export validate DATA="$(or $(DATA),$(FETCHED))"

setup: $(VENV)/.done

$(VENV)/.done: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "mobilemod needs Python 3.11, 3.12 or 3.13, and finds none:" \
	  "install one, or give PYTHON=/path/to/python" >&2; exit 2; }
	@case $(HERE) in Linux-x86_64|Linux-aarch64|Darwin-arm64) ;; *) \
	  echo "mobilemod: PyTorch $(TORCH) has no build for $(HERE); docs/install.md lists what works" >&2; \
	  exit 2;; esac
	@echo "setting up $(VENV) with $(PYTHON): about 4 minutes, 700 MB to download, 3 GB of disk"
	@$(PYTHON) -m venv $(VENV) || { echo "mobilemod: $(PYTHON) makes no virtual environment; on" \
	  "Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	$(PIP) pip==26.3 setuptools==84.2.1 wheel==0.48.0
ifeq ($(HERE),Darwin-arm64)
	$(PIP) --no-deps torch==$(TORCH)
else
	$(PIP) --no-deps torch==$(TORCH)+cpu || $(PIP) --no-deps torch==$(TORCH)+cpu --index-url $(TORCH_INDEX)
endif
	$(PIP) --no-deps -r requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

data: setup
	$(CLI) data --out data/imagenette

train: setup
	$(CLI) train --model $(MODEL) $(DATA_OPTION) --out "$(RUN)" \
	  $(if $(QAT),--qat $(QAT) $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)")) \
	  $(if $(CONFIG),--config "$(CONFIG)")

export: setup
	MOBILEMOD_ONNX2TF="$(ONNX2TF)" $(CLI) export $(if $(NETWORK),--network "$(NETWORK)",--model $(MODEL)) \
	  $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(DATA_OPTION) \
	  --targets $(TARGETS) --recipe $(RECIPE) --out "$(OUT)"

# DEVICE has a default for `bench`; here it counts where it was given.
validate: setup
	MOBILEMOD_ARM64="$(ARM64)" MOBILEMOD_GPU="$(GPU)" MOBILEMOD_TFLITE_RUNTIME="$(TFLITE_RUNTIME)" \
	  $(AROUND) $(CLI) validate "$(OUT)" $(MEASURED) $(if $(RUNTIME),--runtime $(RUNTIME)) \
	  $(if $(AUDIT_ONLY),--audit-only) $(if $(LIMIT),--limit $(LIMIT)) $(if $(WITH_GPU),--gpu) \
	  $(if $(filter-out file,$(origin DEVICE)),--device "$(DEVICE)" $(if $(GATES),--gates "$(GATES)") \
	    $(if $(filter-out file,$(origin THREADS)),--threads $(THREADS)) \
	    $(if $(SUSTAINED),--sustained $(SUSTAINED))) \
	  $(if $(MAX_DROP),--max-drop $(MAX_DROP)) $(if $(AGREEMENT),--min-agreement $(AGREEMENT))

stress: setup
	$(CLI) stress "$(OUT)" $(MEASURED) $(if $(IMAGES),--images $(IMAGES)) \
	  $(if $(MAX_MEAN_DROP),--max-mean-drop $(MAX_MEAN_DROP))

search: setup
	$(CLI) search "$(OUT)" $(MEASURED) $(if $(MAX_DROP),--max-drop $(MAX_DROP)) \
	  $(if $(IMAGES),--images $(IMAGES)) $(if $(LIMIT),--limit $(LIMIT))

inspect: setup
	$(CLI) inspect $(wildcard $(OUT)/*.pte $(OUT)/*.tflite $(OUT)/*.mlpackage)

report: setup
	$(CLI) report "$(OUT)"

bench: setup
	MOBILEMOD_ARM64="$(ARM64)" $(CLI) bench "$(OUT)" --device "$(DEVICE)" --threads $(THREADS)

arm64: setup
	$(CLI) arm64 --out "$(ARM64)"

# SwiftShader, a software GPU for `validate --gpu`, unpacked into .gpu.
gpu: setup
	$(CLI) gpu --out "$(GPU)"

# A Swift compiler for the checks of apps/ios, unpacked into .swift.
swift: setup
	$(BIN)/python apps/ios/check/toolchain.py

# Apple's Core AI, for TARGETS=coreai; few need it.
coreai: setup
	$(PIP) --no-deps -r export/targets/coreai/requirements.txt

# Qualcomm's NPU compiler, under its own licence, for `compile` and `inspect --npu`; few need it.
qnn: setup
	$(PIP) --no-deps --upgrade --target "$(QNN)" -r export/npu/requirements.txt

# SOC=SM8750,SM8650: the chips.
compile: setup
	$(CLI) compile "$(OUT)" --soc "$(SOC)" --qnn "$(QNN)"

# onnx2tf for TARGETS=tflite:onnx2tf, in an environment of its own, and what writes its ONNX; few
# need it.
onnx2tf: setup
	$(PIP) --no-deps -r export/targets/tflite_onnx2tf/requirements-onnx.txt
	$(BIN)/python -m export.targets.environment onnx2tf --out "$(ONNX2TF)"

# tflite-runtime for RUNTIME=tflite-runtime, in an environment of its own.
tflite-runtime: setup
	$(BIN)/python -m export.targets.environment tflite-runtime --out "$(TFLITE_RUNTIME)"

# What `bench-latency` compares with: ONNX Runtime, and onnx2tf.
bench-setup: onnx2tf
	$(PIP) -r benchmarks/requirements.txt

bench-latency: setup
	MOBILEMOD_ONNX2TF="$(ONNX2TF)" $(BIN)/python -m benchmarks.latency --models $(BENCH_MODELS) $(DATA_OPTION) --out "$(BENCH_OUT)"

# The web app, built into apps/web/dist; `harness serve` hands it out.
web: $(WEB)/node_modules/.done
	cd $(WEB) && npm run build --silent

$(WEB)/node_modules/.done: $(WEB)/package-lock.json
	@command -v npm >/dev/null || { echo "make web needs Node.js 20.19 or newer, with npm" >&2; exit 2; }
	cd $(WEB) && npm ci --no-fund --no-audit
	@touch $@

apps: setup
	$(CLI) apps "$(OUT)" --apps $(APPS)

# Each app's own tests; what an app needs is installed by its script where that is allowed.
test-apps: setup web
	@for script in $(wildcard apps/*/test.sh); do \
	  echo "$$script"; MOBILEMOD_DATA="$(DATA)" PYTHON="$(CURDIR)/$(BIN)/python" "$$script" || exit 1; \
	done

# A file's tests share what is expensive, so that a file stays in one process.
test: setup
	MOBILEMOD_DATA="$(DATA)" OMP_NUM_THREADS=1 $(PYTEST) -m "not slow and not alone" $(BESIDE)
	MOBILEMOD_DATA="$(DATA)" $(PYTEST) -m "not slow and alone" $(ALONE)

test-slow: setup
	MOBILEMOD_DATA="$(DATA)" OMP_NUM_THREADS=1 $(PYTEST) -m "slow and not alone and not long" $(BESIDE)
	MOBILEMOD_DATA="$(DATA)" $(PYTEST) -m "slow and alone" $(ALONE)

# The slow tests that CI has no time for.
test-long: setup
	MOBILEMOD_DATA="$(DATA)" OMP_NUM_THREADS=1 $(PYTEST) -m long $(BESIDE)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf dist build runs
