# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
# Everything is built under build/. `make help` lists the targets.
CC ?= gcc
CXX ?= g++
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
prefix ?= /usr/local
DESTDIR ?=
sysconfdir ?= /etc
unitdir ?= $(prefix)/lib/systemd/system
# Where Debian's zsh looks.
zshdir ?= $(prefix)/share/zsh/$(if $(filter /usr,$(prefix)),vendor-completions,site-functions)
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
# The one part in C++, for the library that reads JSON; exceptions and run-time types have no use in it.
CXXFLAGS ?= $(if $(DEBUG),-O0,-O2) -g
CXXFLAGS_ALL = -std=c++17 -fno-exceptions -fno-rtti -Wall -Wextra -Iinclude -Iuser $(CXXFLAGS) $(if $(SAN),$(SAN_FLAGS))
SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LIBS := -lbpf -ldw -lelf -liberty -llzma -lz -ljansson -lprotobuf-c -lcyaml -lyaml -lmicrohttpd -lcurl -lncursesw -lsimdjson -lstdc++ -lpthread -lm
# vmlinux.h has the kernel side's types: the C library's are kept out, whose asm/ is not found for this target (but on machines with gcc-multilib).
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -D__TARGET_ARCH_$(BPF_ARCH) -Iinclude -Ibpf -D_LINUX_TYPES_H

BPF_SRC := $(wildcard bpf/*.bpf.c)
USER_SRC := $(wildcard user/*/*.c user/*/*.cc)
# All but what knows BPF: built for the unit tests with sanitizers.
PURE_SRC := user/watch/options.c $(wildcard user/lib/*.c user/serve/config*.c user/serve/alert_findings.c user/serve/diagnoses.c user/model/*.c user/model/*.cc user/judge/*.c user/sink/*.c user/symbols/*.c) $(filter-out user/top/paint.c,$(wildcard user/top/*.c)) $(filter-out user/collect/collector.c user/collect/budget.c,$(wildcard user/collect/*.c)) $(addprefix user/probe/,btf_scan.c elf_sites.c go_functions.c runtime_sites.c)
UNIT := $(patsubst tests/unit/%.c,$(O)/tests/unit/%,$(wildcard tests/unit/test_*.c))
LIVE := $(patsubst tests/live/%.c,$(O)/tests/live/%,$(wildcard tests/live/test_*.c))
SKEL := $(O)/stakeout.skel.h
# Other people's formats, made from the descriptions of their messages.
PROTO := $(patsubst user/sink/%.proto,$(O)/proto/%.pb-c,$(wildcard user/sink/*.proto))
PROTO_OBJ := $(PROTO:=.o)
obj = $(addprefix $(O)/,$(addsuffix .o,$(basename $(1))))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all test unit live e2e readers bench demo install uninstall man deb clean deps help test-kernels format arm64 bpf

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

$(O)/%.o: %.cc
	$(call say,CXX,$<)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CXXFLAGS_ALL) -MMD -MP -c $< -o $@

$(O)/proto/%.pb-c.c $(O)/proto/%.pb-c.h: user/sink/%.proto
	$(call say,PROTO,$<)
	@mkdir -p $(@D)
	$(Q)protoc-c -Iuser/sink --c_out=$(O)/proto $(notdir $<)

$(O)/proto/%.o: $(O)/proto/%.c
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

# Only sinks see the messages.
$(call obj,$(wildcard user/sink/*.c)) $(patsubst %.c,$(O)/san/%.o,$(wildcard user/sink/*.c)) $(O)/san/tests/unit/test_prometheus.o: $(PROTO:=.h)

# The HTML report's page, with its styles and programs.
HTML_PAGE := $(O)/html/page.h
$(HTML_PAGE): tools/html-page $(wildcard user/sink/html/*)
	$(call say,PAGE,$@)
	@mkdir -p $(@D)
	$(Q)tools/html-page > $@

$(O)/user/sink/html.o $(O)/san/user/sink/html.o: $(HTML_PAGE)

# The rules that come with the program, as a C string.
DEFAULT_RULES := $(O)/rules/default.h
$(DEFAULT_RULES): tools/rules/default.yaml
	$(call say,RULES,$@)
	@mkdir -p $(@D)
	$(Q){ echo 'static const char rules_default_text[] ='; sed 's/[\\"]/\\&/g; s/.*/\t"&\\n"/' $<; echo ';'; } > $@

$(O)/user/judge/rule_file.o $(O)/san/user/judge/rule_file.o: $(DEFAULT_RULES)

$(O)/stakeout: $(call obj,user/main.c $(USER_SRC)) $(PROTO_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDFLAGS) $(LIBS)

# Unit tests see the pure code only, always with the sanitizers.
$(O)/san/%.o: %.c
	$(call say,CC,$< (sanitized))
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(SAN_FLAGS) -MMD -MP -c $< -o $@

$(O)/san/%.o: %.cc
	$(call say,CXX,$< (sanitized))
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CXXFLAGS_ALL) $(SAN_FLAGS) -MMD -MP -c $< -o $@

$(O)/tests/unit/%: $(O)/san/tests/unit/%.o $(patsubst $(O)/%,$(O)/san/%,$(call obj,$(PURE_SRC))) $(PROTO_OBJ)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(SAN_FLAGS) $^ -o $@ -lcmocka -ldw -lelf -liberty -llzma -ljansson -lprotobuf-c -lcyaml -lyaml -lz -lsimdjson -lstdc++ -lm

# Its workers pose as interpreters, which export their symbols.
$(O)/tests/live/test_python: CFLAGS_ALL += -rdynamic

$(O)/tests/live/%: $(O)/tests/live/%.o $(call obj,$(wildcard tests/live/lib_*.c) $(filter-out user/cmd/%,$(USER_SRC))) $(PROTO_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $^ -o $@ -lcmocka $(LIBS)

unit: $(UNIT) ## build the unit tests
live: $(LIVE) ## build the live tests

# Other people's readers of our formats, from npm, for the end-to-end tests; never part of the program.
READERS := $(O)/tests/npm
readers: $(READERS)/node_modules/.package-lock.json ## install the readers of formats that the tests need (npm)

$(READERS)/node_modules/.package-lock.json: tests/e2e/npm/package.json tests/e2e/npm/package-lock.json
	$(call say,NPM,$(READERS))
	@mkdir -p $(READERS)
	$(Q)cp tests/e2e/npm/package.json tests/e2e/npm/package-lock.json $(READERS)/
	$(Q)npm ci --prefix $(READERS) --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
	$(Q)touch $@

test: ## install what the tests need, build, run all of them
	$(Q)tools/install-deps test
	$(Q)$(MAKE) --no-print-directory all unit live readers
	$(Q)tests/run

test-kernels: ## run the live tests on other kernels under QEMU (KERNELS="6.1 newest": on these; ONLY="test_sched,test_heap*": these)
	$(Q)tools/install-deps kernels
	$(Q)$(MAKE) --no-print-directory all live
	$(Q)tests/kernels/run $(KERNELS)

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

# What the program says of itself, as manual pages and completions.
MAN := $(patsubst tools/man/%.in,$(O)/man/%,$(wildcard tools/man/*.in))
COMPLETIONS := $(addprefix $(O)/completions/,stakeout.bash _stakeout stakeout.fish)

man: $(MAN) $(COMPLETIONS) ## make the manual pages and completions (build/man, build/completions)

$(MAN) &: $(O)/stakeout tools/man/generate tools/man/program.py $(wildcard tools/man/*.in) README.md user/serve/config.def tools/rules/default.yaml include/version.h
	$(call say,MAN,$(O)/man)
	$(Q)tools/man/generate $(O)/stakeout $(O)/man

$(COMPLETIONS) &: $(O)/stakeout tools/completions/generate tools/man/program.py
	$(call say,COMPL,$(O)/completions)
	$(Q)tools/completions/generate $(O)/stakeout $(O)/completions

UNITS := $(wildcard tools/systemd/*.service)
CONFIG := $(wildcard tools/systemd/stakeout.yaml)
PREFIXED := $(DESTDIR)$(prefix)

install: ## install into $(DESTDIR)$(prefix), the daemon's configuration into $(DESTDIR)$(sysconfdir)
	$(Q)tools/install-deps build
	$(Q)$(MAKE) --no-print-directory all man
	install -D -m 755 $(O)/stakeout $(PREFIXED)/bin/stakeout
	$(foreach page,$(MAN),install -D -m 644 $(page) $(PREFIXED)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page)) &&) true
	install -D -m 644 $(O)/completions/stakeout.bash $(PREFIXED)/share/bash-completion/completions/stakeout
	install -D -m 644 $(O)/completions/_stakeout $(DESTDIR)$(zshdir)/_stakeout
	install -D -m 644 $(O)/completions/stakeout.fish $(PREFIXED)/share/fish/vendor_completions.d/stakeout.fish
	install -D -m 644 README.md $(PREFIXED)/share/doc/stakeout/README.md
	install -D -m 644 tools/rules/default.yaml $(PREFIXED)/share/stakeout/rules/default.yaml
	$(foreach unit,$(UNITS),install -d $(DESTDIR)$(unitdir) && sed 's|/usr/local/bin/|$(prefix)/bin/|g; s|/etc/stakeout/|$(sysconfdir)/stakeout/|g' $(unit) > $(DESTDIR)$(unitdir)/$(notdir $(unit)) &&) true
	$(foreach file,$(CONFIG),[ -e $(DESTDIR)$(sysconfdir)/stakeout/$(notdir $(file)) ] || install -D -m 640 $(file) $(DESTDIR)$(sysconfdir)/stakeout/$(notdir $(file)) &&) true

uninstall: ## remove what install put there, but for a configuration that was changed
	rm -f $(PREFIXED)/bin/stakeout $(foreach page,$(MAN),$(PREFIXED)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page))) \
		$(PREFIXED)/share/bash-completion/completions/stakeout $(DESTDIR)$(zshdir)/_stakeout \
		$(PREFIXED)/share/fish/vendor_completions.d/stakeout.fish $(PREFIXED)/share/doc/stakeout/README.md $(PREFIXED)/share/stakeout/rules/default.yaml \
		$(foreach unit,$(UNITS),$(DESTDIR)$(unitdir)/$(notdir $(unit)))
	$(foreach file,$(CONFIG),! cmp -s $(file) $(DESTDIR)$(sysconfdir)/stakeout/$(notdir $(file)) || rm -f $(DESTDIR)$(sysconfdir)/stakeout/$(notdir $(file)) &&) true
	rmdir $(PREFIXED)/share/doc/stakeout $(PREFIXED)/share/stakeout/rules $(PREFIXED)/share/stakeout $(DESTDIR)$(sysconfdir)/stakeout 2>/dev/null || true

VERSION = $(shell sed -n 's/.*STAKEOUT_VERSION "\(.*\)"/\1/p' include/version.h)
DEB_TREE := $(O)/deb/tree
SINCE = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),$(shell date +%s))
deb: ## make a Debian package (build/deb)
	$(Q)tools/install-deps build deb
	$(Q)$(MAKE) --no-print-directory all man
	$(Q)rm -rf $(O)/deb
	$(Q)mkdir -p $(DEB_TREE)
	$(Q)cp -r tools/debian $(DEB_TREE)/debian
	$(Q)sed 's/@VERSION@/$(VERSION)/; s/@DATE@/'"$$(LC_ALL=C date -u -R -d @$(SINCE))"/ tools/debian/changelog > $(DEB_TREE)/debian/changelog
	$(Q)cd $(DEB_TREE) && SOURCE='$(CURDIR)' O='$(abspath $(O))' DEB_RULES_REQUIRES_ROOT=no debian/rules binary $(if $(V),,>/dev/null)
	$(Q)rm -rf $(DEB_TREE)
	@ls $(O)/deb/*.deb

arm64: ## build the kernel side for arm64 (into build/arm64)
	$(Q)$(MAKE) --no-print-directory O=$(O)/arm64 ARCH=aarch64 bpf

format: ## format the C code
	clang-format -i $$(git ls-files '*.c' '*.cc' '*.h')

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

$(O)/fuzz/%.o: %.cc
	$(call say,CXX,$< (fuzzed))
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(CXXFLAGS_ALL) $(SAN_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

$(O)/fuzz/%: tests/fuzz/%.c $(filter %.c,$(PURE_SRC)) $(patsubst %.cc,$(O)/fuzz/%.o,$(filter %.cc,$(PURE_SRC))) $(PROTO:=.c) | $(HTML_PAGE) $(DEFAULT_RULES)
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(CFLAGS_ALL) $(SAN_FLAGS) -fsanitize=fuzzer $^ -o $@ -ldw -lelf -liberty -llzma -ljansson -lprotobuf-c -lcyaml -lyaml -lz -lsimdjson -lstdc++ -lm

# benchmark
BENCH := $(patsubst %.c,$(O)/%,$(wildcard tests/bench/*.c))
.PHONY: bench-programs
bench-programs: $(BENCH)

$(O)/tests/bench/%: $(O)/tests/bench/%.o $(call obj,$(filter-out user/cmd/%,$(USER_SRC))) $(PROTO_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $^ -o $@ $(LDFLAGS) $(LIBS)

# Those of the build alone: what a package or a test leaves there may be called so, and be gone again.
-include $(shell find $(O) -type d '(' -name deb -o -name npm ')' -prune -o -type f -name '*.d' -print 2>/dev/null)
