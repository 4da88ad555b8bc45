/* SPDX-License-Identifier: Apache-2.0 */
/* weft-unpack: what weftd does not do itself with an image nobody vouches for. Started as an
 * unprivileged user with the image as descriptor 3 and, to unpack, an empty directory as 4.
 *
 *   weft-unpack digest          print the sha256 of descriptor 3
 *   weft-unpack unpack ARCH     unpack 3 into 4 and print what it is (unpack_result.h)
 *
 * Exit status 0 means that the answer stands on stdout, be it an error. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/image/unpack.h"
#include "runtimes/image/unpack_result.h"

enum { SOURCE_FD = 3, DIR_FD = 4 };

#define CPU_SECONDS   120
#define ADDRESS_SPACE (1ULL << 30) /* the kernel is mapped to be checked; xz wants up to 64 MiB */

static const struct weft_unpack_limits limits = {
	.max_bytes = 512ULL << 20,
	.max_entries = 4096,
};

/* Nothing this process does by mistake, or is made to do, costs more than this. No new processes:
 * once it has ended, nobody is left who could change what it unpacked. */
static int confine(void)
{
	const struct {
		int what;
		rlim_t max;
	} set[] = {
		{RLIMIT_CPU, CPU_SECONDS},
		{RLIMIT_FSIZE, limits.max_bytes},
		{RLIMIT_AS, ADDRESS_SPACE},
		{RLIMIT_NPROC, 0},
		{RLIMIT_NOFILE, 16},
		{RLIMIT_CORE, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(set); i++) {
		struct rlimit l = {set[i].max, set[i].max};

#ifdef __SANITIZE_ADDRESS__
		if (set[i].what == RLIMIT_AS)
			continue;
#endif
		if (setrlimit((__rlimit_resource_t)set[i].what, &l) < 0)
			return -errno;
	}
	return 0;
}

static void md_freep(EVP_MD_CTX **c)
{
	EVP_MD_CTX_free(*c);
}

static int print_digest(void)
{
	_cleanup_(md_freep) EVP_MD_CTX *c = EVP_MD_CTX_new();
	static unsigned char buf[256 * 1024];
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n_md = 0;
	ssize_t n;

	if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	for (off_t at = 0; (n = pread(SOURCE_FD, buf, sizeof(buf), at)) != 0; at += n) {
		if (n < 0)
			return -errno;
		if (EVP_DigestUpdate(c, buf, (size_t)n) != 1)
			return -EIO;
	}
	if (EVP_DigestFinal_ex(c, md, &n_md) != 1)
		return -EIO;
	for (unsigned i = 0; i < n_md; i++)
		printf("%02x", md[i]);
	return 0;
}

static int print_unpacked(enum weft_arch arch)
{
	_cleanup_(freep) char *text = NULL;
	struct weft_unpacked out;
	struct weft_err err = {};
	int r;

	r = weft_unpack(SOURCE_FD, DIR_FD, arch, &limits, &out, &err);
	/* The cache counts as complete after a rename, which must not overtake the data. */
	if (r == 0 && syncfs(DIR_FD) < 0)
		r = weft_err_set(&err, errno, "write it to disk: %m");
	text = weft_unpack_result_format(r == 0 ? &out : NULL, &err);
	if (!text)
		return -ENOMEM;
	fputs(text, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	int arch, r = confine();

	if (r < 0) {
		fprintf(stderr, "weft-unpack: set limits: %s\n", strerror(-r));
		return 1;
	}
	if (argc == 2 && strcmp(argv[1], "digest") == 0) {
		r = print_digest();
	} else if (argc == 3 && strcmp(argv[1], "unpack") == 0 &&
		   (arch = weft_arch_parse(argv[2])) >= 0) {
		r = print_unpacked((enum weft_arch)arch);
	} else {
		fputs("usage: weft-unpack digest 3<IMAGE\n"
		      "       weft-unpack unpack ARCH 3<IMAGE 4<DIRECTORY\n",
			stderr);
		return 2;
	}
	if (r == 0 && fflush(stdout) != 0)
		r = -errno;
	if (r < 0)
		fprintf(stderr, "weft-unpack: %s\n", strerror(-r));
	return r < 0;
}
