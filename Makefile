# Proctor. `make help` lists the targets; supervisor/README.md says how to work on the code.

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR    ?=
PYTHON     ?= /usr/bin/python3
CC         ?= gcc
CLANG      ?= clang
ifeq ($(origin CC),default)
CC := gcc
endif

# Where each shell looks for completions, below PREFIX.
COMPLETION_bash := share/bash-completion/completions/proctorctl
COMPLETION_zsh  := share/zsh/vendor-completions/_proctorctl
COMPLETION_fish := share/fish/vendor_completions.d/proctorctl.fish
COMPLETIONS := $(COMPLETION_bash) $(COMPLETION_zsh) $(COMPLETION_fish)
MAN := share/man
VERSION := $(shell sed -n '1s/.*(\([^-)]*\).*/\1/p' packaging/debian/changelog)
# The day of that version, YYYY-MM-DD.
DATE = $(shell date -u -d "$$(sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -n 1)" +%F)

# What a binary is made of. main.c of app/ and ctl/ are kept out of the archives that unit tests draw from.
LAYERS  := base policy config io core app
SOURCES := $(foreach layer,$(LAYERS) ctl,$(wildcard supervisor/$(layer)/*.c))
DAEMON  := $(filter-out supervisor/ctl/%,$(SOURCES))
CLIENT  := $(wildcard supervisor/base/*.c supervisor/ctl/*.c supervisor/io/command_*.c)
TESTS   := $(sort $(wildcard tests/unit/test_*.c))

PACKAGES := libpq jansson yaml-0.1 inih libisal libcurl libcrypto libmicrohttpd
# Asked once, and only by what compiles: `make help` works where pkg-config does not.
PACKAGE_CFLAGS = $(eval PACKAGE_CFLAGS := $$(shell pkg-config --cflags $(PACKAGES)))$(PACKAGE_CFLAGS)

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wvla -Wpointer-arith -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Werror
COMMON = -std=c11 -D_GNU_SOURCE -Isupervisor $(PACKAGE_CFLAGS) $(WARNINGS) -pthread \
	-DPROCTOR_VERSION='"$(VERSION)"' -DPROCTOR_SYSCONFDIR='"$(SYSCONFDIR)"'
# CFLAGS is the caller's to add to, say CFLAGS=-O0.
RELEASE = $(COMMON) -O2 -g -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 $(CFLAGS)
SANITIZE = $(COMMON) -O1 -g -fPIE -fno-omit-frame-pointer -fsanitize=address,undefined \
	-fno-sanitize-recover=all $(CFLAGS)
CHECKED = $(COMMON) -O2 $(CFLAGS)
CRASH = $(RELEASE) -DPROCTOR_CRASH_POINTS

LINK := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
DAEMON_LIBS = -lpq -ljansson -linih -lev -lisal -lcurl -lcrypto -lmicrohttpd -lm -lpthread
CLIENT_LIBS = -ljansson -lyaml
TEST_LIBS   = -lcmocka -lpq -ljansson -lyaml -linih -lev -lisal -lcurl -lcrypto -lmicrohttpd -lm -lpthread

.DELETE_ON_ERROR:
.PHONY: all asan clang tests man deb demo check check-system bench chaos soak fuzz lint format deps install uninstall clean help FORCE
.DEFAULT_GOAL := all

all: build/proctord build/proctorctl ## build build/proctord and build/proctorctl (the default)

# Flavours. Each has its own folder and a stamp that changes with its flags, so that a change of flags, version
# or compiler builds anew what it concerns.

object = $(patsubst %.c,build/$(1)/%.o,$(patsubst supervisor/%,%,$(2)))

# $(1) flavour, $(2) name of the compiler's variable, $(3) name of the flags' variable
define flavour
build/$(1)/flags: FORCE
	@mkdir -p $$(@D)
	@pkg-config --exists $(PACKAGES) 2>/dev/null || { \
		echo "libraries to build with are missing: run packaging/deps.sh build" >&2; exit 1; }
	@printf '%s\n' $$(call quote,$$($(2)) $$($(3))) | cmp -s - $$@ || \
		printf '%s\n' $$(call quote,$$($(2)) $$($(3))) >$$@

build/$(1)/%.o: supervisor/%.c build/$(1)/flags
	@mkdir -p $$(@D)
	@echo "  CC      $$@"
	@$$($(2)) $$($(3)) -MMD -MP -c -o $$@ $$<
endef
quote = '$(subst ','\'',$(1))'

$(eval $(call flavour,release,CC,RELEASE))
$(eval $(call flavour,asan,CC,SANITIZE))
$(eval $(call flavour,clang,CLANG,CHECKED))
$(eval $(call flavour,crash,CC,CRASH))

build/proctord: $(call object,release,$(DAEMON))
	@echo "  LINK    $@"
	@$(CC) $(RELEASE) $(LINK) -o $@ $^ $(DAEMON_LIBS) $(LDFLAGS)

build/proctorctl: $(call object,release,$(CLIENT))
	@echo "  LINK    $@"
	@$(CC) $(RELEASE) $(LINK) -o $@ $^ $(CLIENT_LIBS) $(LDFLAGS)

build/asan/proctord: $(call object,asan,$(DAEMON))
	@echo "  LINK    $@"
	@$(CC) $(SANITIZE) $(LINK) -o $@ $^ $(DAEMON_LIBS) $(LDFLAGS)

build/asan/proctorctl: $(call object,asan,$(CLIENT))
	@echo "  LINK    $@"
	@$(CC) $(SANITIZE) $(LINK) -o $@ $^ $(CLIENT_LIBS) $(LDFLAGS)

# A daemon that a test can end at each of its CRASH_POINTs; the files without one are the release's.
WITH_POINTS := $(shell grep -l '"base/crashpoint\.h"' $(DAEMON))

build/crash/proctord: $(call object,crash,$(WITH_POINTS)) $(call object,release,$(filter-out $(WITH_POINTS),$(DAEMON)))
	@echo "  LINK    $@"
	@$(CC) $(CRASH) $(LINK) -o $@ $^ $(DAEMON_LIBS) $(LDFLAGS)

# What benchmarks need: a daemon without a spool, what fills one, and what admits calls in virtual time.
BARE = $(RELEASE) -DPROCTOR_WITHOUT_SPOOL
$(eval $(call flavour,bare,CC,BARE))
WITHOUT_SPOOL := supervisor/core/store_journal.c

build/bare/proctord: $(call object,bare,$(WITHOUT_SPOOL)) $(call object,release,$(filter-out $(WITHOUT_SPOOL),$(DAEMON)))
	@$(CC) $(RELEASE) $(LINK) -o $@ $^ $(DAEMON_LIBS) $(LDFLAGS)

build/bench/spool_feed: tests/bench/spool_feed.c $(call object,release,$(wildcard supervisor/base/*.c supervisor/io/*.c))
	@mkdir -p $(@D)
	@$(CC) $(RELEASE) $(LINK) -o $@ $^ $(DAEMON_LIBS) $(LDFLAGS)

build/bench/admission: tests/bench/admission.c $(call object,release,$(wildcard supervisor/base/*.c supervisor/policy/*.c))
	@mkdir -p $(@D)
	@$(CC) $(RELEASE) $(LINK) -o $@ $^ -lm $(LDFLAGS)

# Fuzzers: clang's, for libFuzzer, each with the sources that it reaches.
FUZZ = $(COMMON) -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all $(CFLAGS)
$(eval $(call flavour,fuzz,CLANG,FUZZ))
TIME ?= 60

fuzzed_by_control    := supervisor/app/call.c $(wildcard supervisor/app/control*.c supervisor/io/*.c)
fuzzed_by_worker     := supervisor/io/msg.c supervisor/io/jsontext.c
fuzzed_by_ini        := $(wildcard supervisor/config/*.c) \
	$(addprefix supervisor/policy/,alert.c backoff.c intensity.c jitter.c price.c route.c)
fuzzed_by_definition := $(addprefix supervisor/ctl/,definition_file.c yaml_tree.c)
fuzzed_by_spool      := $(wildcard supervisor/io/*.c)
FUZZERS := control worker ini definition spool

# $(1) name of the fuzzer, as in tests/fuzz/fuzz_NAME.c
define fuzzer
build/fuzz/$(1): tests/fuzz/fuzz_$(1).c tests/fuzz/fuzz.h build/fuzz/flags $(call object,fuzz,$(fuzzed_by_$(1)) $(wildcard supervisor/base/*.c))
	@echo "  FUZZER  $$@"
	@$$(CLANG) $$(FUZZ) -fsanitize=fuzzer -o $$@ $$(filter-out %.h %/flags,$$^) -Wl,--as-needed $(DAEMON_LIBS) -lyaml $$(LDFLAGS)
endef
$(foreach name,$(FUZZERS),$(eval $(call fuzzer,$(name))))

asan: build/asan/proctord build/asan/proctorctl ## build both under ASan and UBSan, in build/asan/

clang: $(call object,clang,$(SOURCES)) ## compile everything with clang too, for its warnings

# Unit tests: each program is linked with the archives of the layers that its name allows, so that a policy
# test that needs a clock does not link.

# $(1) layer
define archive
build/asan/lib$(1).a: $(call object,asan,$(filter-out %/main.c,$(wildcard supervisor/$(1)/*.c)))
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach layer,$(LAYERS) ctl,$(eval $(call archive,$(layer))))

layers_of_base   := base
layers_of_policy := policy base
layers_of_config := config policy base
layers_of_io     := io base
layers_of_core   := core io config policy base
layers_of_app    := app core io config policy base
layers_of_ctl    := ctl io base
layer_of = $(word 2,$(subst _, ,$(1)))

# Calls that a test stands in for, to let them fail: its __wrap_NAME is called in their place.
wrapped_by_test_io_spool_faults := pwritev fdatasync fsync fallocate openat renameat
comma := ,

# $(1) name of the test, as in tests/unit/NAME.c
define unit_test
build/asan/tests/$(1): tests/unit/$(1).c build/asan/flags $(foreach layer,$(layers_of_$(call layer_of,$(1))),build/asan/lib$(layer).a)
	@mkdir -p $$(@D)
	@echo "  TEST    $$@"
	@$$(CC) $$(SANITIZE) -Itests/unit -MMD -MP -o $$@ $$< \
		-Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $(addprefix -Wl$(comma)--wrap=,$(wrapped_by_$(1))) \
		$(LINK) $(TEST_LIBS) $$(LDFLAGS)
endef
$(foreach test,$(TESTS),$(eval $(call unit_test,$(basename $(notdir $(test))))))

UNIT_TESTS := $(patsubst tests/unit/%.c,build/asan/tests/%,$(TESTS))
tests: $(UNIT_TESTS) ## build the unit tests, in build/asan/tests/

# Manual pages, from Markdown and the tables of the programs.
MAN_PAGES := $(patsubst packaging/man/%.md,build/man/%,$(wildcard packaging/man/*.md))

build/man/%: packaging/man/%.md packaging/man/page.sh workers/PROTOCOL.md packaging/debian/changelog build/proctord build/proctorctl
	@mkdir -p $(@D)
	@echo "  MAN     $@"
	@packaging/man/page.sh $< $(VERSION) $(DATE) >$@

man: $(MAN_PAGES) ## build the manual pages, in build/man/

deb: all man ## build the Debian package, in build/
	@packaging/deps.sh package
	@packaging/deb.sh

# What people run

demo: ## run 12 scenarios over six models and show what comes of it; KEEP=1 leaves it running
	@packaging/deps.sh demo
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@PYTHON=$(PYTHON) KEEP=$(KEEP) packaging/demo.sh

check: ## build, lint and run all tests; ONLY="unit lint fuzz workers integration" runs some of them
	@packaging/deps.sh check
	@PYTHON=$(PYTHON) packaging/check.sh $(ONLY)

check-system: ## install the package in a container with systemd, and run, reload, kill, upgrade, remove and purge it
	@packaging/deps.sh check package system
	@$(MAKE) --no-print-directory -j$$(nproc) all man
	@$(PYTHON) tests/system $(OPTIONS)

bench: ## measure speed and memory, a JSON line each; ONLY=probes_per_s runs one
	@packaging/deps.sh bench
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(PYTHON) tests/bench $(ONLY)

chaos: ## kill workers, daemon and Postgres for minutes and prove that nothing is lost; OPTIONS="--seed 1 --shared"
	@packaging/deps.sh check
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(PYTHON) tests/chaos $(OPTIONS)

fuzz: ## feed each parser with random input; TIME=60 is the seconds of each, ONLY="ini spool" runs some
	@packaging/deps.sh check
	@$(MAKE) --no-print-directory -j$$(nproc) $(addprefix build/fuzz/,$(or $(ONLY),$(FUZZERS)))
	@tests/fuzz/run.sh $(TIME) $(or $(ONLY),$(FUZZERS))

soak: ## do a day's work in minutes, with restarts and reloads, and prove that memory stays flat; OPTIONS="--jobs 43200"
	@packaging/deps.sh bench
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(PYTHON) tests/soak $(OPTIONS)

lint: ## check format, layers, scripts and Python
	@packaging/lint/run.sh

format: ## put all C files into the one format
	@clang-format -i $(wildcard supervisor/*/*.[ch] tests/unit/*.[ch] tests/fuzz/*.[ch])

deps: ## install what is missing to build, run and test
	@packaging/deps.sh check bench

# Whatever the umask, what is installed is for all users.
install: all man ## install below $(DESTDIR)$(PREFIX); an existing proctor.ini is left alone
	umask 022 && install -d $(addprefix $(DESTDIR)$(PREFIX)/,sbin bin lib/proctor $(dir $(COMPLETIONS)))
	install -m 755 build/proctord $(DESTDIR)$(PREFIX)/sbin/proctord
	install -m 755 build/proctorctl $(DESTDIR)$(PREFIX)/bin/proctorctl
	rm -rf $(addprefix $(DESTDIR)$(PREFIX)/lib/proctor/,workers sql conf)
	for part in workers sql conf; do \
		packaging/copy.sh $$part $(DESTDIR)$(PREFIX)/lib/proctor/$$part || exit 1; done
	umask 022 && $(PYTHON) -m compileall -q -s $(DESTDIR)/ -p / $(DESTDIR)$(PREFIX)/lib/proctor/workers
	umask 022 && build/proctorctl completion bash >$(DESTDIR)$(PREFIX)/$(COMPLETION_bash)
	umask 022 && build/proctorctl completion zsh >$(DESTDIR)$(PREFIX)/$(COMPLETION_zsh)
	umask 022 && build/proctorctl completion fish >$(DESTDIR)$(PREFIX)/$(COMPLETION_fish)
	umask 022 && for page in $(MAN_PAGES); do \
		install -D -m 644 -t $(DESTDIR)$(PREFIX)/$(MAN)/man$${page##*.} $$page || exit 1; done
	umask 022 && install -d $(addprefix $(DESTDIR)$(PREFIX)/share/proctor/,prometheus grafana)
	install -m 644 packaging/prometheus/proctor.rules.yml $(DESTDIR)$(PREFIX)/share/proctor/prometheus/
	install -m 644 packaging/grafana/proctor.json $(DESTDIR)$(PREFIX)/share/proctor/grafana/
	umask 022 && install -d $(DESTDIR)$(SYSCONFDIR)/proctor
	test -e $(DESTDIR)$(SYSCONFDIR)/proctor/proctor.ini || \
		install -m 644 conf/proctor.ini $(DESTDIR)$(SYSCONFDIR)/proctor/proctor.ini

uninstall: ## remove what install put there, but for the configuration
	rm -f $(DESTDIR)$(PREFIX)/sbin/proctord $(DESTDIR)$(PREFIX)/bin/proctorctl
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,$(COMPLETIONS))
	for page in $(notdir $(MAN_PAGES)); do rm -f $(DESTDIR)$(PREFIX)/$(MAN)/man$${page##*.}/$$page; done
	rm -rf $(addprefix $(DESTDIR)$(PREFIX)/,lib/proctor share/proctor)

clean: ## remove build/
	rm -rf build

help: ## show this
	@echo 'make [TARGET] [VARIABLE=value …]'
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' Makefile | sed 's/\$$([^)]*)//' | \
		while IFS='	' read -r target what; do printf '  %-11s %s\n' "$$target" "$$what"; done
	@echo
	@echo 'PREFIX=$(PREFIX) SYSCONFDIR=$(SYSCONFDIR) DESTDIR=$(DESTDIR) CC=$(CC) CLANG=$(CLANG) PYTHON=$(PYTHON)'

-include $(patsubst %.o,%.d,$(call object,release,$(SOURCES)) $(call object,asan,$(SOURCES)) \
	$(call object,clang,$(SOURCES)) $(call object,fuzz,$(SOURCES)) $(call object,crash,$(WITH_POINTS))) $(addsuffix .d,$(UNIT_TESTS))
