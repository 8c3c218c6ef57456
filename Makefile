# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
# Everything is built under build/. `make help` lists the targets.
CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
prefix ?= /usr/local
DESTDIR ?=
O ?= build
ifeq ($(origin CC),default)
CC := gcc
endif

ARCH ?= $(shell uname -m)
BPF_ARCH := $(if $(filter aarch64 arm64,$(ARCH)),arm64,x86)

Q := $(if $(V),,@)
say = @$(if $(V),:,printf '  %-6s %s\n' '$(1)' '$(2)')

CFLAGS ?= $(if $(DEBUG),-O0,-O2) -g
CFLAGS_ALL = -std=gnu11 -Wall -Wextra -D_GNU_SOURCE -Iinclude -Iuser -I$(O) $(CFLAGS) $(if $(SAN),$(SAN_FLAGS))
SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LIBS := -lbpf -ldw -lelf -liberty -llzma -lz -ljansson -lprotobuf-c -lcyaml -lyaml -lmicrohttpd -lcurl -lncursesw -lpthread -lm
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -D__TARGET_ARCH_$(BPF_ARCH) -Iinclude -Ibpf

BPF_SRC := $(wildcard bpf/*.bpf.c)
USER_SRC := $(wildcard user/*/*.c)
# All but what knows BPF: built for the unit tests with sanitizers.
PURE_SRC := user/watch/options.c $(wildcard user/lib/*.c user/serve/config*.c user/model/*.c user/judge/*.c user/sink/*.c user/symbols/*.c) $(filter-out user/collect/collector.c user/collect/budget.c,$(wildcard user/collect/*.c)) $(addprefix user/probe/,btf_scan.c elf_sites.c go_functions.c runtime_sites.c)
UNIT := $(patsubst tests/unit/%.c,$(O)/tests/unit/%,$(wildcard tests/unit/test_*.c))
LIVE := $(patsubst tests/live/%.c,$(O)/tests/live/%,$(wildcard tests/live/test_*.c))
SKEL := $(O)/stakeout.skel.h
# Other people's formats, made from the descriptions of their messages.
PROTO := $(patsubst user/sink/%.proto,$(O)/proto/%.pb-c,$(wildcard user/sink/*.proto))
PROTO_OBJ := $(PROTO:=.o)
obj = $(patsubst %.c,$(O)/%.o,$(1))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all test unit live e2e bench demo install uninstall clean deps help test-kernels format arm64 bpf

all: $(O)/stakeout ## build the program (build/stakeout)

bpf: $(SKEL) ## build the kernel side only

$(O)/%.bpf.o: %.bpf.c
	$(call say,BPF,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MF $(@:.o=.d) -c $< -o $@

$(O)/stakeout.bpf.o: $(patsubst %.bpf.c,$(O)/%.bpf.o,$(BPF_SRC))
	$(call say,LINK,$@)
	$(Q)$(BPFTOOL) gen object $@ $^

$(SKEL): $(O)/stakeout.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name stakeout_bpf > $@

# Only the probe layer sees the skeleton.
$(call obj,$(wildcard user/probe/*.c) tests/live/test_heap_windows.c): $(SKEL)

$(O)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

$(O)/proto/%.pb-c.c $(O)/proto/%.pb-c.h: user/sink/%.proto
	$(call say,PROTO,$<)
	@mkdir -p $(@D)
	$(Q)protoc-c -Iuser/sink --c_out=$(O)/proto $(notdir $<)

$(O)/proto/%.o: $(O)/proto/%.c
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

# Only sinks see the messages.
$(call obj,$(wildcard user/sink/*.c)) $(patsubst %.c,$(O)/san/%.o,$(wildcard user/sink/*.c)) $(O)/san/tests/unit/test_prometheus.o: $(PROTO:=.h)

$(O)/stakeout: $(call obj,user/main.c $(USER_SRC)) $(PROTO_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDFLAGS) $(LIBS)

# Unit tests see the pure code only, always with the sanitizers.
$(O)/san/%.o: %.c
	$(call say,CC,$< (sanitized))
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(SAN_FLAGS) -MMD -MP -c $< -o $@

$(O)/tests/unit/%: $(O)/san/tests/unit/%.o $(patsubst %.c,$(O)/san/%.o,$(PURE_SRC)) $(PROTO_OBJ)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(SAN_FLAGS) $^ -o $@ -lcmocka -ldw -lelf -liberty -llzma -ljansson -lprotobuf-c -lcyaml -lyaml -lz -lm

# Its workers pose as interpreters, which export their symbols.
$(O)/tests/live/test_python: CFLAGS_ALL += -rdynamic

$(O)/tests/live/%: $(O)/tests/live/%.o $(call obj,$(wildcard tests/live/lib_*.c) $(filter-out user/cmd/%,$(USER_SRC))) $(PROTO_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $^ -o $@ -lcmocka $(LIBS)

unit: $(UNIT) ## build the unit tests
live: $(LIVE) ## build the live tests

test: ## install what the tests need, build, run all of them
	$(Q)tools/install-deps test
	$(Q)$(MAKE) --no-print-directory all unit live
	$(Q)tests/run

test-kernels: ## run the live tests on other kernels under QEMU
	$(Q)tools/install-deps kernels
	$(Q)$(MAKE) --no-print-directory all live
	$(Q)tests/kernels/run

bench: ## measure the cost of watching against other tools (QUICK=1: 2 minutes; ONLY=SCENARIO,..)
	$(Q)tools/install-deps bench
	$(Q)$(MAKE) --no-print-directory all bench-programs
	$(Q)O=$(O) tests/bench/run $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

demo: ## build, observe the demo agent for some seconds, show the report
	$(Q)tools/install-deps build
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tools/demo/run

deps: ## say which packages are missing
	$(Q)tools/install-deps --check build test

install: all ## install into $(DESTDIR)$(prefix)
	install -D -m 755 $(O)/stakeout $(DESTDIR)$(prefix)/bin/stakeout

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(prefix)/bin/stakeout

arm64: ## build the kernel side for arm64 (into build/arm64)
	$(Q)$(MAKE) --no-print-directory O=$(O)/arm64 ARCH=aarch64 bpf

format: ## format the C code
	clang-format -i $$(git ls-files '*.c' '*.h')

clean: ## remove build/
	rm -rf $(O)

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  \1\t/p' Makefile | expand -t 18
	@echo "  variables: V=1 DEBUG=1 SAN=1 CC= CLANG= DESTDIR= prefix="

# libFuzzer; FUZZ_S seconds a target. Crashing inputs stay in build/fuzz.
FUZZ := $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_S ?= 60
.PHONY: fuzz
fuzz: $(FUZZ) ## fuzz what reads foreign data (FUZZ_S=60 seconds a target)
	$(Q)for f in $(FUZZ); do mkdir -p $$f.corpus && ASAN_OPTIONS=detect_leaks=1 $$f -max_total_time=$(FUZZ_S) -rss_limit_mb=2048 \
		-print_final_stats=1 -artifact_prefix=$$f- $$f.corpus $$(d=tests/fuzz/$$(basename $$f).seeds; [ -d $$d ] && echo $$d) || exit 1; done

$(O)/fuzz/%: tests/fuzz/%.c $(PURE_SRC) $(PROTO:=.c)
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(CFLAGS_ALL) $(SAN_FLAGS) -fsanitize=fuzzer $^ -o $@ -ldw -lelf -liberty -llzma -ljansson -lprotobuf-c -lcyaml -lyaml -lz -lm

# benchmark
BENCH := $(patsubst %.c,$(O)/%,$(wildcard tests/bench/*.c))
.PHONY: bench-programs
bench-programs: $(BENCH)

$(O)/tests/bench/%: $(O)/tests/bench/%.o $(call obj,$(filter-out user/cmd/%,$(USER_SRC))) $(PROTO_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDFLAGS) $(LIBS)

-include $(shell find $(O) -name '*.d' 2>/dev/null)
