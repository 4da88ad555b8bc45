/* SPDX-License-Identifier: Apache-2.0 */
/* qemu's fw_cfg, by DMA: one transfer costs one or two exits, byte by byte costs hundreds. */
#ifndef WEFT_GUEST_FW_CFG_H
#define WEFT_GUEST_FW_CFG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fw_cfg_file {
	uint16_t key;
	uint32_t size;
};

/* False: there is none of that name, or no fw_cfg. */
bool fw_cfg_find(const char *name, struct fw_cfg_file *ret);

/* Read from its beginning; what it holds now, also after the machine was restored. */
bool fw_cfg_read(const struct fw_cfg_file *file, void *buf, size_t size);

#endif
