# SPDX-License-Identifier: Apache-2.0
# The project's own unikernel: $(B)/guest/weft-guest.tar.gz (image) and weft-guest.elf (kernel).
# Included by the top Makefile.
LWIP        ?= $(B)/lwip
GUEST_GCC   := $(shell $(CC) -print-file-name=include)
GUEST_FLAGS := -O2 -g -std=gnu11 -ffreestanding -fno-pic -mno-red-zone -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fcf-protection=none \
	-mgeneral-regs-only -march=x86-64 -ffunction-sections -fdata-sections \
	-nostdinc -isystem $(GUEST_GCC) -Itests/guest/include -Itests/guest -Itests/guest/amd64 -Itests/guest/lwip \
	-isystem $(LWIP)/src/include -MMD -MP
GUEST_SRC   := $(wildcard tests/guest/*.c tests/guest/amd64/*.c tests/guest/amd64/*.S)
GUEST_OBJ   := $(patsubst tests/guest/%,$(B)/guest/obj/%.o,$(GUEST_SRC))
GUEST_LWIP  := $(addprefix $(B)/guest/obj/lwip/,$(addsuffix .o, \
	core/def core/inet_chksum core/init core/ip core/mem core/memp core/netif core/pbuf \
	core/tcp core/tcp_in core/tcp_out core/timeouts core/udp core/ipv4/etharp core/ipv4/icmp \
	core/ipv4/ip4 core/ipv4/ip4_addr core/ipv4/ip4_frag \
	core/ipv6/ethip6 core/ipv6/icmp6 core/ipv6/ip6 core/ipv6/ip6_addr core/ipv6/ip6_frag core/ipv6/nd6 \
	netif/ethernet))

ifeq ($(shell uname -m),x86_64)
guest: $(B)/guest/weft-guest.tar.gz
else
guest:
	@echo "guest: not built: it is an x86-64 kernel, and this is $$(uname -m)" >&2
endif

$(LWIP)/.version: scripts/lwip-source.sh
	$(Q)scripts/lwip-source.sh $(LWIP)
	@touch $@

$(B)/guest/obj/%.c.o: tests/guest/%.c | $(LWIP)/.version
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(GUEST_FLAGS) $(WARN) -c $< -o $@
$(B)/guest/obj/%.S.o: tests/guest/%.S
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) -g -Itests/guest/amd64 -MMD -MP -c $< -o $@
$(GUEST_LWIP): $(B)/guest/obj/lwip/%.o: $(LWIP)/.version tests/guest/lwip/lwipopts.h tests/guest/lwip/arch/cc.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(GUEST_FLAGS) -Wall -Wno-unused-variable -c $(LWIP)/src/$*.c -o $@

$(B)/guest/link.ld: tests/guest/amd64/link.ld tests/guest/amd64/layout.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) -E -P -undef -x c -Itests/guest/amd64 $< -o $@
$(B)/guest/weft-guest.elf: $(GUEST_OBJ) $(GUEST_LWIP) $(B)/guest/link.ld
	$(call say,LD)
	$(Q)$(LD) -nostdlib -static -no-pie -z noexecstack --gc-sections --build-id=none \
		-T $(B)/guest/link.ld $(GUEST_OBJ) $(GUEST_LWIP) -o $@

# The same input gives the same bytes.
$(B)/guest/weft-guest.tar.gz: $(B)/guest/weft-guest.elf tests/guest/guest.mk
	@rm -rf $(B)/guest/image && mkdir -p $(B)/guest/image
	$(Q)strip -o $(B)/guest/image/kernel $<
	$(Q)printf '{"ipv6":true,"machine":"microvm","netdev":"ip","powerdown":true,"ring3":true,"warm":"can"}\n' >$(B)/guest/image/weft.json
	$(Q)chmod 644 $(B)/guest/image/*
	$(call say,TAR)
	$(Q)tar -C $(B)/guest/image --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
		-cf - kernel weft.json | gzip -n >$@.tmp && mv $@.tmp $@
