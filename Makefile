# SPDX-License-Identifier: Apache-2.0
# make            build everything below build/
# make demo       install what is missing, build, run the main job      (root)
# make test       install what is missing, build, pass the tests        (root)
# make check      the tests alone;  TESTS='tests/e2e/swap.t build/tests/unit/test_err' picks some
# make bench      measure; bench-dataplane: the packet path; bench-hops: its hops; bench-runtimes:
#                 starting instances; bench-swap: swaps;  QUICK=1: short   (root)
# make lint | fuzz | install DESTDIR= PREFIX=/usr | deb | clean;  V=1 shows the commands
VERSION := 0.1.0
B       ?= build
CLANG   ?= clang-14
PKGS    := jansson libsystemd libnl-3.0 libnl-route-3.0 sqlite3 libmicrohttpd libcurl libnghttp2 \
           libprotobuf-c libarchive smartcols libcrypto libbpf libxdp gnutls
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wshadow -Wpointer-arith \
           -Wwrite-strings -Wvla -Werror
BASEFLAGS = -std=gnu11 -D_GNU_SOURCE -DWEFT_VERSION='"$(VERSION)"' -I. -I$(B)/gen -MMD -MP $(WARN)
PKGFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS     := -Wl,--as-needed $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm -lpthread
SAN      := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g

.DEFAULT_GOAL := all
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(or $(2),$@))
# Where `make test` and `make demo` start from nothing: compilers and libraries come first.
ifneq ($(filter demo test,$(MAKECMDGOALS)),)
.PHONY: demo test
demo test:
	@scripts/preflight.sh $@
	scripts/deps.sh
	@scripts/preflight.sh $@
	$(MAKE) -j$$(nproc) --no-print-directory all $(if $(filter test,$@),tests fuzz)
	$(if $(filter demo,$@),scripts/demo.sh,tests/run.sh)
else

# --- sources: a new file in these folders is built without a word here ---------------------------
LIB_SRC  := $(wildcard ctrl/base/*.c sched/*.c runtimes/*.c runtimes/*/*.c ctrl/dataplane/*.c \
              ctrl/state/*.c ctrl/swap/*.c ctrl/health/*.c ctrl/engine/*.c ctrl/api/*.c)
LIB_SRC  := $(filter-out %_main.c,$(LIB_SRC))
BPF_SRC  := $(wildcard bpf/*.bpf.c)
PROTO    := $(wildcard runtimes/containerd/*.proto)
SKEL     := $(BPF_SRC:bpf/%.bpf.c=$(B)/gen/bpf/%.skel.h)
PB_C     := $(PROTO:%.proto=$(B)/gen/%.pb-c.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/obj/%.o) $(PB_C:$(B)/gen/%.c=$(B)/obj/gen/%.o)
SAN_OBJ  := $(LIB_OBJ:$(B)/obj/%=$(B)/san/%)
PROGS    := $(B)/weftd $(B)/weft $(B)/weft-load $(B)/libexec/weft-unpack \
            $(B)/libexec/weft-runsc $(B)/libexec/weft-log

all: $(PROGS) guest

-include tests/guest/guest.mk
-include runtimes/qemu/qemu.mk
.PHONY: all guest check lint fuzz bench bench-dataplane bench-hops bench-runtimes bench-swap \
        install deb clean tests

# --- generated -----------------------------------------------------------------------------------
$(B)/gen/%.bpf.o: %.bpf.c $(wildcard bpf/*.h tests/bench/*.h)
	@mkdir -p $(@D)
	$(call say,BPF)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Werror -I. \
		-I/usr/include/$(shell gcc -print-multiarch) -c $< -o $@

$(B)/gen/bpf/%.skel.h: $(B)/gen/bpf/%.bpf.o
	$(call say,GEN)
	$(Q)bpftool gen skeleton $< name $* > $@.tmp && mv $@.tmp $@

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: %.proto
	@mkdir -p $(B)/gen
	$(call say,GEN)
	$(Q)protoc-c --c_out=$(B)/gen $<

GEN_H := $(SKEL) $(PB_C:.c=.h)
.SECONDARY: $(PB_C) $(GEN_H) $(SKEL:.skel.h=.bpf.o)

# --- objects -------------------------------------------------------------------------------------
GENWARN = -Wno-shadow -Wno-missing-prototypes -Wno-strict-prototypes -Wno-sign-compare
$(B)/obj/gen/%.o: $(B)/gen/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS) $(BASEFLAGS) $(GENWARN) $(PKGFLAGS) -c $< -o $@
$(B)/obj/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS) $(BASEFLAGS) $(PKGFLAGS) -c $< -o $@
$(B)/san/gen/%.o: $(B)/gen/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(SAN) $(BASEFLAGS) $(GENWARN) $(PKGFLAGS) -c $< -o $@
$(B)/san/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(SAN) $(BASEFLAGS) $(PKGFLAGS) -c $< -o $@

# Embedded as they are.
$(B)/obj/ctrl/api/web.o $(B)/san/ctrl/api/web.o $(B)/fuzz/ctrl/api/web.o: $(wildcard ctrl/web/*)

$(B)/libweft.a: $(LIB_OBJ)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^
$(B)/libweft-san.a: $(SAN_OBJ)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

# --- programs ------------------------------------------------------------------------------------
obj = $(patsubst %.c,$(B)/obj/%.o,$(wildcard $(1)))
$(B)/weftd: $(call obj,ctrl/daemon/*.c) $(B)/libweft.a
$(B)/weft: $(call obj,ctrl/cli/*.c) $(B)/libweft.a
$(B)/weft-load: $(call obj,loadgen/*.c) $(B)/libweft.a
$(B)/libexec/weft-unpack: $(call obj,runtimes/image/unpack_main.c) $(B)/libweft.a
$(B)/libexec/weft-runsc: $(call obj,runtimes/containerd/runsc_main.c)
$(B)/libexec/weft-log: $(call obj,runtimes/log/log_main.c)
$(PROGS):
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

# --- tests: test_X.c in tests/unit, tests/bpf and tests/conformance are programs that speak TAP ---
TEST_SRC := $(wildcard tests/unit/test_*.c tests/bpf/test_*.c tests/conformance/test_*.c)
TEST_BIN := $(TEST_SRC:%.c=$(B)/%)
LOAD_SAN := $(patsubst %.c,$(B)/san/%.o,$(filter-out %_main.c loadgen/main.c,$(wildcard loadgen/*.c)))
CLI_SAN  := $(patsubst %.c,$(B)/san/%.o,$(filter-out %_main.c ctrl/cli/main.c,$(wildcard ctrl/cli/*.c)))
TEST_LIB := $(patsubst %.c,$(B)/san/%.o,$(wildcard tests/lib/*.c) \
	$(filter-out tests/conformance/test_%.c,$(wildcard tests/conformance/*.c)))
$(B)/libtest-san.a: $(LOAD_SAN) $(CLI_SAN) $(TEST_LIB)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^
$(B)/tests/%: $(B)/san/tests/%.o $(B)/libtest-san.a $(B)/libweft-san.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(SAN) -o $@ $< $(B)/libtest-san.a $(B)/libweft-san.a $(LIBS) -lcmocka
tests: $(TEST_BIN)
.SECONDARY: $(TEST_SRC:%.c=$(B)/san/%.o) $(TEST_LIB) $(LOAD_SAN) $(CLI_SAN)

# Fuzzers: tests/fuzz/fuzz_X.c defines LLVMFuzzerTestOneInput; the library is compiled with clang.
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(FUZZ_SRC:%.c=$(B)/%)
FUZZ_SAN := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined -O1 -g
$(B)/fuzz/gen/%.o: $(B)/gen/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CLANG) $(FUZZ_SAN) $(BASEFLAGS) $(GENWARN) $(PKGFLAGS) -c $< -o $@
$(B)/fuzz/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CLANG) $(FUZZ_SAN) $(BASEFLAGS) $(PKGFLAGS) -c $< -o $@
$(B)/libweft-fuzz.a: $(LIB_OBJ:$(B)/obj/%=$(B)/fuzz/%)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^
$(B)/tests/fuzz/%: $(B)/fuzz/tests/fuzz/%.o $(B)/libweft-fuzz.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CLANG) -fsanitize=address,undefined,fuzzer -o $@ $< $(B)/libweft-fuzz.a $(LIBS)
fuzz: $(FUZZ_BIN)
.SECONDARY: $(FUZZ_SRC:%.c=$(B)/fuzz/%.o)

# Benchmarks: tests/bench/X.c is a program each, made of the same objects as weft itself.
BENCH    := $(patsubst %.c,$(B)/%,$(filter-out %.bpf.c,$(wildcard tests/bench/*.c))) \
            $(patsubst %.bpf.c,$(B)/gen/%.bpf.o,$(wildcard tests/bench/*.bpf.c))
$(B)/tests/bench/%: $(B)/obj/tests/bench/%.o $(B)/libweft.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(LIBS)
tests: $(BENCH)
.SECONDARY: $(patsubst $(B)/%,$(B)/obj/%.o,$(filter $(B)/tests/%,$(BENCH)))
bench: bench-dataplane bench-hops bench-runtimes bench-swap
bench-dataplane: $(BENCH)
	scripts/bench-dataplane.sh
bench-hops: all
	scripts/bench-hops.sh
bench-runtimes: all $(BENCH)
	scripts/bench-runtimes.sh
bench-swap: all
	scripts/bench-swap.sh

check: all tests fuzz
	tests/run.sh $(TESTS)

lint:
	scripts/lint.sh

PREFIX  ?= /usr
UNITDIR ?= /lib/systemd/system
install: all
	install -D -m 755 $(B)/weftd $(DESTDIR)$(PREFIX)/sbin/weftd
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(B)/weft $(B)/weft-load
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/libexec/weft $(B)/libexec/*
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 ctrl/man/*.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man5 ctrl/man/*.5
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 ctrl/man/*.8
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/weft ctrl/metrics/*
	install -d $(DESTDIR)$(UNITDIR)
	sed 's|/usr/sbin/|$(PREFIX)/sbin/|' ctrl/systemd/weftd.service >$(DESTDIR)$(UNITDIR)/weftd.service
	chmod 644 $(DESTDIR)$(UNITDIR)/weftd.service
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(B)/weft completion >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/weft

deb: all
	scripts/mkdeb.sh $(VERSION) $(B)

clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
endif
