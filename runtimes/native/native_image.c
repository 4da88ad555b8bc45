/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/native/native_image.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/cleanup.h"

static const uint16_t machines[WEFT_ARCH_COUNT] = {
	[WEFT_ARCH_AMD64] = EM_X86_64,
	[WEFT_ARCH_ARM64] = EM_AARCH64,
};

static int check_elf(const char *path, const Elf64_Ehdr *eh, size_t size, enum weft_arch arch,
	struct weft_err *err)
{
	if (size < sizeof(*eh))
		return weft_err_set(err, EBADMSG, "program %s: truncated", path);
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB ||
		le16toh(eh->e_machine) != machines[arch])
		return weft_err_set(
			err, ENOTSUP, "program %s: not built for %s", path, weft_arch_name(arch));
	if (le16toh(eh->e_type) != ET_EXEC && le16toh(eh->e_type) != ET_DYN)
		return weft_err_set(err, EBADMSG, "program %s: ELF, but no executable", path);
	return 0;
}

static int check_file(
	const char *path, enum weft_arch arch, uint64_t *ret_size, struct weft_err *err)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	Elf64_Ehdr eh = {};
	struct stat st;
	ssize_t n;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return weft_err_set(err, errno, "program %s: %m", path);
	if (!S_ISREG(st.st_mode))
		return weft_err_set(err, EBADMSG, "program %s: not a regular file", path);
	n = read(fd, &eh, sizeof(eh));
	if (n < 0)
		return weft_err_set(err, errno, "program %s: %m", path);
	if (n >= SELFMAG && memcmp(eh.e_ident, ELFMAG, SELFMAG) == 0) {
		r = check_elf(path, &eh, (size_t)n, arch, err);
		if (r < 0)
			return r;
	} else if (n < 2 || memcmp(eh.e_ident, "#!", 2) != 0) {
		return weft_err_set(err, EBADMSG, "program %s: neither ELF nor a script", path);
	}
	if (!(st.st_mode & 0111)) {
		weft_err_set(err, EACCES, "program %s: not executable", path);
		weft_err_hint(err, "chmod +x %s", path);
		return -EACCES;
	}
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

int weft_native_image_check(const char *image, enum weft_arch arch, const char **ret_path,
	uint64_t *ret_size, struct weft_err *err)
{
	const char *path = strncmp(image, "file://", 7) == 0 ? image + 7 : image;
	uint64_t size = 0;
	int r;

	if (path[0] != '/') {
		weft_err_set(err, EINVAL, "program %s: not an absolute path", image);
		weft_err_hint(err, "give a full path or a file:// URL");
		return -EINVAL;
	}
	if (arch != weft_arch_host())
		return weft_err_set(err, ENOTSUP, "program %s: wanted for %s, this host is %s",
			path, weft_arch_name(arch), weft_arch_name(weft_arch_host()));
	r = check_file(path, arch, &size, err);
	if (r < 0)
		return r;
	*ret_path = path;
	*ret_size = size;
	return 0;
}
