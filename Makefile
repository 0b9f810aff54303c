# A short front for CMake. `make help` lists what there is. SPDX-License-Identifier: Apache-2.0
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX  ?= /usr/local
DESTDIR ?=
CMAKE   ?= cmake
PYTHON  ?= python3
RELEASE  = build/release
C_FILES  = $(wildcard include/*/*.h src/*/*.[ch] src/*/*/*.[ch] src/*/*/*/*.[ch] cli/*.[ch] examples/*.c tests/*.h tests/*/*.[ch] bench/*.[ch])

.PHONY: all demo-video check check-full check-gpu bench install clean format tidy help

all: $(RELEASE)/CMakeCache.txt ## build the library and para into build/release
	@$(CMAKE) --build $(RELEASE) -j $(JOBS)

# Without the tests, so that nothing but the program's own libraries is needed; `make check` turns them on.
$(RELEASE)/CMakeCache.txt:
	@$(CMAKE) -S . -B $(RELEASE) -DCMAKE_BUILD_TYPE=Release -DPARA_TESTS=OFF -DPARA_WERROR=OFF

# The module is looked for again where it is absent: FFmpeg may have come after the first build.
demo-video: all ## draw a video with the small model that comes along: out/demo.mp4
	@[ -e $(RELEASE)/paraattn-video.so ] || { $(CMAKE) -S . -B $(RELEASE) >/dev/null && $(CMAKE) --build $(RELEASE) -j $(JOBS); }
	@[ -e $(RELEASE)/paraattn-video.so ] || { echo "An MP4 needs FFmpeg's libraries: install them (Debian, Ubuntu: libavformat-dev libswscale-dev;" \
	 "Fedora: libavformat-free-devel libswscale-free-devel; Arch: ffmpeg), then run make demo-video again." >&2; exit 1; }
	@mkdir -p out
	$(RELEASE)/para generate models/tiny-hunyuan-video --prompt "a red heart moving left on a white background" --frames 17 --width 128 --height 128 --steps 20 --fps 8 -o out/demo.mp4
	@echo "The video is $(CURDIR)/out/demo.mp4"

check: ## every test that needs no GPU, sanitizers and short fuzzing included
	@JOBS=$(JOBS) CMAKE=$(CMAKE) tests/run_all.sh

check-full: ## the same with 10 minutes for each fuzzer
	@PARA_FULL=1 JOBS=$(JOBS) CMAKE=$(CMAKE) tests/run_all.sh

check-gpu: ## the ops, and what only a GPU has, on this machine's GPU
	@$(CMAKE) -S . -B build/gpu -DCMAKE_BUILD_TYPE=Release -DPARA_CUDA=ON >/dev/null
	@$(CMAKE) --build build/gpu -j $(JOBS)
	@cd build/gpu && ctest -C gpu -L '^gpu$$' --output-on-failure

bench: all ## time the ops; with torch and diffusers for PYTHON, compare with them
	@$(CMAKE) --build $(RELEASE) -j $(JOBS) --target bench_ops
	$(RELEASE)/bench_ops
	@if $(PYTHON) -c 'import torch, diffusers, transformers' 2>/dev/null; then $(PYTHON) bench/compare_cpu.py; \
	 else echo "no comparison: $(PYTHON) has no torch, diffusers and transformers (make bench PYTHON=... names another)"; fi

install: $(RELEASE)/CMakeCache.txt ## install under PREFIX (/usr/local), below DESTDIR if given
	@$(CMAKE) -S . -B $(RELEASE) -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@$(CMAKE) --build $(RELEASE) -j $(JOBS)
	@DESTDIR=$(DESTDIR) $(CMAKE) --install $(RELEASE)

clean: ## remove build and out
	rm -rf build out

format: ## clang-format over every C file
	clang-format -i $(C_FILES)

tidy: ## clang-tidy over the library and the program
	@$(CMAKE) -S . -B build/tidy -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DPARA_TESTS=OFF >/dev/null
	@clang-tidy -p build/tidy --quiet $(filter-out src/backend/cpu/simd/%,$(filter %.c,$(filter src/% cli/%,$(C_FILES))))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: PREFIX, DESTDIR (install), JOBS (parallel jobs, default: all cores), PYTHON (bench)"
