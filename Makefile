# SPDX-License-Identifier: Apache-2.0
# moat: one non-recursive Makefile; objects under $(O). `make help` names every target.

O        ?= build
V        ?= 0
DEV      ?= 0
SANITIZE ?=
DESTDIR  ?=
PREFIX   ?= /usr/local
KERNELS  ?=
TESTS    ?=

VERSION  := 0.1.0
CC       ?= gcc
CLANG    ?= clang
BPFTOOL  ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
Q        := $(if $(filter 1,$(V)),,@)
say       = $(if $(filter 1,$(V)),,@printf '  %-7s %s\n' '$(1)' '$(2)';)

WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
            -Wformat=2 -Wvla -Wimplicit-fallthrough -Wno-missing-field-initializers \
            $(if $(filter 1,$(DEV)),-Werror)
SANFLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer) \
            $(if $(findstring address,$(SANITIZE)),-DMOAT_ASAN)
CFLAGS   ?= -O2 -g
HARDEN   := -fstack-protector-strong -D_FORTIFY_SOURCE=2
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE -DMOAT_VERSION='"$(VERSION)"' \
            -DMOAT_LIBEXEC='"$(PREFIX)/libexec/moat"' -Iinclude -Iuserspace -I$(O)/gen \
            $(WARN) $(if $(SANITIZE),,$(HARDEN)) $(SANFLAGS) $(CFLAGS) $(SAME_BYTES) -MMD -MP
# The same bytes whatever folder it is built in: no absolute path, also not in the line information.
SAME_BYTES := -ffile-prefix-map=$(CURDIR)=.
# What is built for is the compiler's business, not this machine's.
TARGET    := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
BPF_CFLAGS = -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_$(subst aarch64,arm64,$(subst x86_64,x86,$(TARGET))) \
            -Iinclude -idirafter /usr/include/$(shell $(CC) -print-multiarch) -Wall -Wextra -Werror \
            -Wno-unused-parameter $(SAME_BYTES) -MMD -MP

AGENT_LIBS := -lmicrohttpd -ljansson -linih -lbpf -lelf -lz -lcap -lseccomp
INIT_LIBS  := -lcap
CLI_LIBS   := -ljansson

src   = $(sort $(wildcard userspace/$(1)/*.c) $(wildcard userspace/$(1)/*/*.c))
obj   = $(patsubst %.c,$(O)/%.o,$(call src,$(1)))
BASE_OBJ  := $(call obj,base)
JSON_OBJ  := $(call obj,json)
COMMAND_OBJ := $(call obj,command)
AGENT_OBJ := $(call obj,agent)
INIT_OBJ  := $(call obj,init)
RUN_OBJ   := $(call obj,run)
LIB_OBJ   := $(call obj,lib)
CLI_OBJ   := $(call obj,cli)
BPF_SRC   := $(sort $(wildcard bpf/*.bpf.c))
BPF_OBJ   := $(patsubst bpf/%.bpf.c,$(O)/bpf/%.bpf.o,$(BPF_SRC))
UNIT_SRC  := $(sort $(wildcard tests/unit/*/*_test.c))
UNIT_BIN  := $(patsubst tests/unit/%.c,$(O)/tests/unit/%,$(UNIT_SRC))
TOOL_SRC  := $(sort $(wildcard tests/integration/tools/*.c tests/bench/*.c))
TOOL_BIN  := $(patsubst tests/%.c,$(O)/tests/%,$(TOOL_SRC))
BIN       := $(O)/moatd $(O)/moat-init $(O)/moat-run $(O)/moat

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

all: $(BIN) $(O)/libmoat.a $(O)/libmoat.pc ## build moatd, moat-init, moat-run, moat and libmoat

$(O)/moatd: $(BASE_OBJ) $(JSON_OBJ) $(COMMAND_OBJ) $(AGENT_OBJ)
	$(call say,LINK,$@) $(CC) $(SANFLAGS) $(LDFLAGS) -pie -Wl,-z,relro,-z,now -o $@ $^ $(AGENT_LIBS)

# Static, at random addresses: no dynamic loader in the start-up of the command line and of moat-init.
$(O)/moat-init: $(INIT_OBJ)
	$(call say,LINK,$@) $(CC) $(SANFLAGS) $(LDFLAGS) $(if $(SANITIZE),,-static-pie) -o $@ $^ $(INIT_LIBS)

$(O)/moat-run: $(RUN_OBJ) $(COMMAND_OBJ) $(patsubst %,$(O)/userspace/base/%.o,base sha256 utf8)
	$(call say,LINK,$@) $(CC) $(SANFLAGS) $(LDFLAGS) $(if $(SANITIZE),,-static-pie) -o $@ $^

$(O)/moat: $(CLI_OBJ) $(O)/libmoat.a $(BASE_OBJ)
	$(call say,LINK,$@) $(CC) $(SANFLAGS) $(LDFLAGS) $(if $(SANITIZE),,-static-pie) -o $@ $^ $(CLI_LIBS)

# One object, of which only what moat.h declares can be seen: a program may have a buffer_append of its own.
$(O)/libmoat.a: $(LIB_OBJ)
	$(call say,AR,$@) rm -f $@ && $(CC) -nostdlib -r -o $(O)/libmoat.o $^ && \
		objcopy --wildcard --keep-global-symbol='moat_*' $(O)/libmoat.o && ar rcs $@ $(O)/libmoat.o

# For whoever builds against what is installed. Written anew with each build: it is a few lines.
define LIBMOAT_PC
prefix=$(PREFIX)
includedir=$${prefix}/include
libdir=$${prefix}/lib

Name: libmoat
Description: client of the API of moatd
Version: $(VERSION)
Cflags: -I$${includedir}
Libs: -L$${libdir} -lmoat
endef

$(O)/libmoat.pc: $(O)/flags
	$(file >$@,$(LIBMOAT_PC))

# What was built with other flags, another prefix or version is built again.
$(shell mkdir -p $(O))
$(O)/flags: FORCE
	$(file >$@.new,$(CC) $(ALL_CFLAGS) $(CLANG) $(BPF_CFLAGS) $(LDFLAGS))@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

FORCE:

$(O)/userspace/%.o: userspace/%.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<) $(CC) $(ALL_CFLAGS) -c -o $@ $<

$(filter $(O)/userspace/agent/enforce/%,$(AGENT_OBJ)): $(O)/gen/moat.skel.h
$(O)/userspace/agent/api/openapi.o: userspace/agent/api/openapi.json

$(O)/bpf/%.bpf.o: bpf/%.bpf.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,BPF,$<) $(CLANG) $(BPF_CFLAGS) -c -o $@ $<

$(O)/moat.bpf.o: $(BPF_OBJ)
	$(call say,BPFLINK,$@) $(BPFTOOL) gen object $@ $^

$(O)/gen/moat.skel.h: $(O)/moat.bpf.o
	@mkdir -p $(@D)
	$(call say,SKEL,$@) $(BPFTOOL) gen skeleton $< name moat_bpf > $@

$(O)/tests/unit/%: tests/unit/%.c $(BASE_OBJ) $(JSON_OBJ) $(COMMAND_OBJ) $(filter-out %/main.o,$(AGENT_OBJ)) $(filter-out %/main.o,$(INIT_OBJ)) \
		$(filter $(O)/userspace/run/files/%,$(RUN_OBJ)) $(O)/libmoat.a
	@mkdir -p $(@D)
	$(call say,UNIT,$@) $(CC) $(ALL_CFLAGS) -Itests/unit -o $@ $< $(filter %.o %.a,$^) $(LDFLAGS) $(AGENT_LIBS) -lcmocka

$(O)/tests/%: tests/%.c $(O)/flags
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(ALL_CFLAGS) -o $@ $(sort $(filter %.c,$^)) $(LDFLAGS)

# Static: it also runs where no library can be reached. Not built with sanitizers.
$(O)/tests/integration/tools/attempt: $(wildcard tests/integration/tools/attempt/*)
$(O)/tests/integration/tools/attempt $(O)/tests/integration/tools/hog: LDFLAGS += -static
$(O)/tests/integration/tools/attempt $(O)/tests/integration/tools/hog: SANFLAGS =

$(O)/tests/integration/tools/measure: $(call src,command) userspace/base/base.c userspace/base/utf8.c
$(O)/tests/integration/tools/measure: LDFLAGS += -ljansson

# Static: how fast it starts is part of what it measures.
$(O)/tests/bench/hook_bench: LDFLAGS += -static
$(O)/tests/bench/hook_bench: SANFLAGS =

# What the Debian packages are for: building; the integration tests' tools and control planes;
# booting other kernels. bun comes from npm, kernels from apt without being installed (vmtest/fetch).
DEPS_BUILD := gcc make pkg-config clang bpftool libc6-dev libbpf-dev libelf-dev zlib1g-dev libcap-dev \
              libmicrohttpd-dev libjansson-dev libinih-dev libseccomp-dev
DEPS_TEST  := g++ zsh libcmocka-dev libclang-rt-dev python3 e2fsprogs kmod mount procps psmisc netcat-openbsd curl iproute2 \
              util-linux strace gdb btrfs-progs git bubblewrap python3-pip python3-setuptools python3-wheel jupyter-server python3-ipykernel \
              uvicorn python3-prometheus-client python3-jsonschema python3-venv awscli postgresql-client
DEPS_DEMO  := python3 procps
DEPS_VM    := qemu-system-x86 kmod python3 debian-archive-keyring

export MOAT_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/moat
export MOAT_NODE_MODULES ?= $(MOAT_CACHE)/node/node_modules
APT_DOWNLOAD = apt-get -o Acquire::Retries=3 -o APT::Sandbox::User=root -qq download
export MOAT_UNPACKED ?= $(MOAT_CACHE)/unpacked

# $(call apt_install,PACKAGES): installs those that are not installed, and says which.
define apt_install
@missing=; for p in $(1); do \
	dpkg-query -W -f='$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || missing="$$missing $$p"; \
done; \
if [ -n "$$missing" ]; then \
	echo "installing:$$missing"; \
	apt-get -o Acquire::Retries=3 update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get -o Acquire::Retries=3 install -qq -y --no-install-recommends $$missing >/dev/null || \
	{ echo "apt-get could not install them: run 'apt-get install$$missing' to see why" >&2; exit 1; }; \
fi
endef

help: ## this list
	@awk -F':.*## ' '/^[a-z_.-]+:.*## /{printf "  %-22s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: deps-build deps-demo ## show moat at work, in a VM where this kernel cannot enforce
	@$(MAKE) --no-print-directory all $(O)/tests/integration/tools/attempt
	@if $(O)/moatd --check >/dev/null 2>&1; then tests/integration/demo --build $(O); else \
		echo "this kernel cannot enforce ($(O)/moatd --check says why): booting Linux 6.12 in a VM"; \
		$(MAKE) --no-print-directory deps-vm KERNELS=6.12 && \
		vmtest/run --kernel 6.12 --plain -- tests/integration/demo --build $(O); fi

# On all processors, unless make was told on how many.
JOBS := $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
SANITIZED := O=$(O)/sanitize CC=$(CLANG) SANITIZE=address,undefined

check: deps ## install what is missing, build, run the tests on all kernels (what needs it, on each); ends in the counts
	@$(MAKE) --no-print-directory $(JOBS) DEV=1 lint-quick all tests
	@$(MAKE) --no-print-directory $(JOBS) DEV=1 $(SANITIZED) sanitized-tests
	@tests/check --build $(O) --share unit sanitize native vm

check-all: deps ## the same with every test on every kernel
	@$(MAKE) --no-print-directory $(JOBS) DEV=1 lint-quick all tests
	@$(MAKE) --no-print-directory $(JOBS) DEV=1 $(SANITIZED) sanitized-tests
	@MOAT_DRILL=all tests/check --build $(O) unit sanitize native vm

check-unit: tests ## the unit tests alone (needs what `make deps` installs)
	@tests/check --build $(O) unit

check-integration: all tests ## the integration tests on the running kernel
	@tests/check --build $(O) $(if $(TESTS),--tests '$(TESTS)') native

check-vm: all tests ## the integration tests in VMs; KERNELS="6.12 7.2" TESTS=pattern narrow it
	@tests/check --build $(O) $(foreach k,$(KERNELS),--kernel $(k)) $(if $(TESTS),--tests '$(TESTS)') vm

tests: $(UNIT_BIN) $(TOOL_BIN) $(O)/moat-init $(O)/moat-run ## build the tests and their tools, and what they run

# clang's: gcc's find less (no pointer arithmetic on a null pointer, say).
check-sanitize: ## the unit tests under clang's address and undefined behaviour sanitizers
	@$(MAKE) --no-print-directory $(JOBS) DEV=1 $(SANITIZED) sanitized-tests
	@tests/check --build $(O) sanitize

sanitized-tests: $(UNIT_BIN) $(O)/moat-init ## (build the unit tests for check-sanitize, which says with which sanitizers)

# Not a part of make check: it goes on as long as it is told to. What it finds is kept in $(O)/fuzz.
$(O)/tests/fuzz/command_fuzz: tests/fuzz/command_fuzz.c tests/unit/command/print.h $(call src,command) \
		$(wildcard userspace/command/*.h) $(call src,base)
	@mkdir -p $(@D)
	$(call say,FUZZ,$@) $(CLANG) -std=gnu17 -D_GNU_SOURCE -O1 -g -Iinclude -Iuserspace -Itests/unit $(WARN) \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -o $@ $(filter %.c,$^)

FUZZ_TIME ?= 300

fuzz: $(O)/tests/fuzz/command_fuzz ## the command language under libFuzzer, for FUZZ_TIME seconds
	@mkdir -p $(O)/fuzz/command
	$< -max_total_time=$(FUZZ_TIME) -max_len=4096 -timeout=10 -dict=tests/fuzz/command.dict \
		-artifact_prefix=$(O)/fuzz/ $(O)/fuzz/command

STRINGS ?= 100000
SEED ?= 11

# The same as a test of make check has, with more strings; each that differs is printed.
agreement: all ## moat-run beside dash, by STRINGS strings drawn from the grammar with SEED
	tests/integration/test_strings.py --build $(O) $(STRINGS) $(SEED)

bench: all tests ## exec latency beside posix_spawn, nsenter, unshare, bubblewrap (VM=6.12: in a VM)
	@$(if $(VM),vmtest/run --kernel $(VM) --timeout 1200 --plain --) tests/bench/run --build $(O)
	$(if $(VM),,-@echo && tests/bench/layers --build $(O) && echo && tests/bench/ports --build $(O))

bench-layers: all tests ## what a command costs with the layers that stand in for LSM programs, beside without (VM=6.12-nobpf: in a VM)
	@$(if $(VM),vmtest/run --kernel $(VM) --timeout 1200 --icount --plain --) tests/bench/layers --build $(O) $(if $(VM),--rounds 10)

bench-streams: all ## what 10,000 contexts, a terminal, 100 MB of stdin and 1 GB of output cost (VM=6.12: in a VM)
	@$(if $(VM),vmtest/run --kernel $(VM) --timeout 1200 --plain --) tests/bench/streams --build $(O)

bench-loads: all tests ## what a command takes while another context does its worst (VM=6.12: in a VM)
	@$(if $(VM),vmtest/run --kernel $(VM) --timeout 1200 --plain --) tests/bench/loads --build $(O)

bench-ports: all tests ## what guarding ports costs a socket where the kernel takes no LSM programs (VM=6.12-nobpf: in a VM)
	@$(if $(VM),vmtest/run --kernel $(VM) --timeout 1200 --icount --plain --) tests/bench/ports --build $(O) $(if $(VM),--rounds 15)

bench-hooks: all tests ## what the kernel hooks cost an operation (VM=6.12: in a VM)
	@$(if $(VM),vmtest/run --kernel $(VM) --timeout 1200 --icount --plain --) tests/bench/hooks --build $(O) $(if $(VM),--rounds 12)

deps: deps-build deps-test deps-vm ## install everything that building and testing need

deps-build: ## install what building needs
	$(call apt_install,$(DEPS_BUILD))

deps-demo: ## install what make demo needs
	$(call apt_install,$(DEPS_DEMO))

deps-test: ## install what the tests need
	$(call apt_install,$(DEPS_TEST) $(if $(shell command -v npm),,npm))
	@test -x $(MOAT_NODE_MODULES)/.bin/bun || { echo "installing: bun (npm)"; \
		mkdir -p $(MOAT_NODE_MODULES)/.. && for attempt in first second; do \
			npm install --silent --no-fund --no-audit --prefix $(MOAT_NODE_MODULES)/.. bun && exit 0; \
		done; exit 1; }
	@test -x $(MOAT_UNPACKED)/usr/sbin/nginx || { echo "unpacking: nginx (installed it would listen at once)"; \
		mkdir -p $(MOAT_UNPACKED) && cd $(MOAT_UNPACKED) && rm -f *.deb && \
		{ $(APT_DOWNLOAD) nginx || { apt-get update -qq && $(APT_DOWNLOAD) nginx; }; } >/dev/null 2>&1 && \
		dpkg-deb -x nginx_*.deb . && rm -f *.deb; }

deps-vm: ## install what booting the kernels needs, and fetch them
	$(call apt_install,$(DEPS_VM))
	@vmtest/fetch $(KERNELS)

# What cppcheck does not know: macros of libraries, and that PTR_OWNED frees.
CPPCHECK = --suppress=memleak --suppress=missingIncludeSystem -D_GNU_SOURCE -D__x86_64__ \
	-D'json_array_foreach(a,i,v)=while ((v = json_array_get(a, (i = 0))))' \
	-D'LIBBPF_OPTS(type,name,...)=struct type name'

# What gcc 12 sees where a cleanup attribute frees by a pointer to the variable.
ANALYZER = -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value

lint-quick: ## what takes seconds: the rules of includes; a part of make check
	@tests/check-includes

format-check: ## whether `make format` would change what differs from the commit before (BASE=commit: from that)
	$(call apt_install,clang-format)
	@tests/check-format $(BASE)

lint: lint-quick format-check ## the same, the layout of what has changed, cppcheck and gcc -fanalyzer
	$(call apt_install,cppcheck)
	cppcheck --quiet --error-exitcode=1 --inline-suppr --enable=warning,portability \
		$(CPPCHECK) -Iinclude -Iuserspace userspace include
	$(MAKE) --no-print-directory O=$(O)/analyzer DEV=1 CFLAGS='-O2 -g -fanalyzer $(ANALYZER)' $(O)/analyzer/moatd \
		$(O)/analyzer/moat-init $(O)/analyzer/moat-run $(O)/analyzer/moat

format: ## clang-format the lines that differ from HEAD (BASE=commit: from that)
	git clang-format --extensions c,h $(or $(BASE),HEAD)

# From what make would run, so that nothing is built and nothing more has to be installed.
compile_commands.json: ## for clangd
	@$(MAKE) --no-print-directory -Bn V=1 DEV=$(DEV) all tests | python3 -c 'import json, os, shlex, sys; \
		lines = [shlex.split(each) for each in sys.stdin if each.split()[:1] in (["$(CC)"], ["$(CLANG)"])]; \
		files = [(each, [word for word in each if word.endswith(".c")]) for each in lines]; \
		print(json.dumps([{"directory": os.getcwd(), "file": file[0], "arguments": each} \
			for each, file in files if file], indent=1))' > $@

coverage: ## line coverage of the unit tests, by gcov
	$(MAKE) --no-print-directory O=$(O)/coverage CFLAGS='-O0 -g --coverage' LDFLAGS=--coverage \
		HARDEN= tests
	tests/check --build $(O)/coverage unit
	cd $(O)/coverage && find . -path './userspace/*.gcda' -exec gcov -n {} + | \
		grep -A1 "^File 'userspace"

# Without a network, and nothing is left beside the source. setuptools and wheel are those of Debian's python3.
PYTHON ?= /usr/bin/python3

clients: ## pack the clients for Node and Python into $(O)/clients (needs npm and pip: make deps-test)
	@rm -rf $(O)/clients && mkdir -p $(O)/clients && cp -r userspace/clients/python $(O)/clients/source
	$(call say,PACK,userspace/clients/node) npm pack --silent --offline --pack-destination $(O)/clients ./userspace/clients/node >/dev/null
	$(call say,PACK,userspace/clients/python) $(PYTHON) -m pip --quiet --disable-pip-version-check wheel --no-index --no-deps \
		--no-build-isolation --no-cache-dir --wheel-dir $(O)/clients $(O)/clients/source
	@rm -r $(O)/clients/source

install-clients: clients ## put the packed clients below $(DESTDIR)$(PREFIX)/share/moat, for npm and pip to install
	for p in $(O)/clients/*; do install -Dm644 $$p $(DESTDIR)$(PREFIX)/share/moat/$${p##*/}; done

install-strip: install ## install without debugging symbols
	strip $(addprefix $(DESTDIR)$(PREFIX)/,sbin/moatd libexec/moat/moat-init libexec/moat/moat-run bin/moat)

install: all ## install below $(DESTDIR)$(PREFIX)
	install -Dm755 $(O)/moatd $(DESTDIR)$(PREFIX)/sbin/moatd
	install -Dm755 $(O)/moat-init $(DESTDIR)$(PREFIX)/libexec/moat/moat-init
	install -Dm755 $(O)/moat-run $(DESTDIR)$(PREFIX)/libexec/moat/moat-run
	install -Dm755 $(O)/moat $(DESTDIR)$(PREFIX)/bin/moat
	install -Dm644 $(O)/libmoat.a $(DESTDIR)$(PREFIX)/lib/libmoat.a
	install -Dm644 $(O)/libmoat.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/libmoat.pc
	for h in moat errors; do install -Dm644 include/moat/$$h.h $(DESTDIR)$(PREFIX)/include/moat/$$h.h; done
	install -Dm644 userspace/cli/completions/moat.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/moat
	install -Dm644 userspace/cli/completions/_moat $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_moat
	for m in userspace/man/*.[1-8]; do \
		install -Dm644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done

uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,sbin/moatd libexec/moat/moat-init libexec/moat/moat-run bin/moat \
		lib/libmoat.a lib/pkgconfig/libmoat.pc share/bash-completion/completions/moat share/zsh/site-functions/_moat)
	rm -rf $(DESTDIR)$(PREFIX)/include/moat $(DESTDIR)$(PREFIX)/libexec/moat $(DESTDIR)$(PREFIX)/share/moat
	for m in userspace/man/*.[1-8]; do \
		rm -f $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done

clean: ## remove what was built
	rm -rf $(O)

.PHONY: all help FORCE clients install-clients install-strip demo check check-all check-unit check-integration check-vm check-sanitize sanitized-tests \
        tests fuzz agreement bench bench-hooks bench-loads bench-ports bench-streams deps deps-build deps-demo deps-test deps-vm lint lint-quick format format-check coverage install uninstall \
        clean compile_commands.json

-include $(shell find $(O) -name '*.d' 2>/dev/null)
