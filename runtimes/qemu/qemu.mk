# SPDX-License-Identifier: Apache-2.0
# The guest that probes accelerators (included by the top Makefile).
PROBE_GUEST := $(B)/libexec/weft-probe-guest.elf

all: $(PROBE_GUEST)
tests: $(PROBE_GUEST) $(B)/libexec/weft-unpack
$(B)/tests/unit/test_qemu $(B)/tests/unit/test_qemu_control $(B)/tests/unit/test_qemu_checkpoint $(B)/tests/unit/test_qemu_warm $(B)/tests/unit/test_qemu_fake: | $(PROBE_GUEST) $(B)/libexec/weft-unpack
$(B)/tests/unit/test_image_unikernel $(B)/tests/unit/test_image_fetch: | $(B)/libexec/weft-unpack

$(PROBE_GUEST): runtimes/qemu/probe_guest.S runtimes/qemu/probe_guest.ld
	@mkdir -p $(@D) $(B)/obj/runtimes/qemu
	$(call say,CC)
	$(Q)$(CC) -c -o $(B)/obj/runtimes/qemu/probe_guest.o $<
	$(Q)ld -static -nostdlib -z noexecstack --no-warn-rwx-segments --build-id=none \
		-T runtimes/qemu/probe_guest.ld -o $@ $(B)/obj/runtimes/qemu/probe_guest.o
