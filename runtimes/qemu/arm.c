/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/arm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/job.h"
#include "runtimes/qemu/machine.h"

#define TIMEOUT_MS 60000
#define AT         "0x40200000" /* in the virt machine's memory, behind its device tree */

struct weft_arm_probe {
	sd_event *event;
	int guest; /* a file in memory */
	struct weft_job *job;
	sd_event_source *defer;
	struct weft_runtime_cap cap;
	weft_arm_known_t known;
	void *userdata;
};

void weft_arm_probe_free(struct weft_arm_probe *p)
{
	if (!p)
		return;
	weft_job_free(p->job);
	sd_event_source_disable_unref(p->defer);
	sd_event_unref(p->event);
	closep(&p->guest);
	free(p);
}

static void finish(struct weft_arm_probe *p)
{
	struct weft_runtime_cap cap = p->cap;
	weft_arm_known_t known = p->known;
	void *userdata = p->userdata;

	weft_arm_probe_free(p);
	known(userdata, &cap);
}

static int run(struct weft_arm_probe *p, const char *const *argv, weft_job_done_t done)
{
	const struct weft_process_spec spec = {
		.argv = argv,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = WEFT_JOB_STDERR_TOO,
		.fds = &p->guest,
		.n_fds = 1,
	};

	return weft_job_run(p->event, &spec, 4096, TIMEOUT_MS, done, p, &p->job, NULL);
}

/* What it wrote last, cut off from what is behind it. */
static const char *last_line(char *text)
{
	char *end = text + strlen(text), *start;

	while (end > text && (end[-1] == '\n' || end[-1] == '\r'))
		*--end = '\0';
	start = strrchr(text, '\n');
	return start ? start + 1 : text;
}

static void on_ran(void *userdata, const struct weft_job_result *res)
{
	_cleanup_(freep) char *words = res->output ? strdup(res->output) : NULL;
	struct weft_arm_probe *p = userdata;
	const char *said = words ? last_line(words) : "";
	char how[64];

	p->cap.usable = res->status == 0 && !res->timed_out;
	if (p->cap.usable)
		snprintf(p->cap.detail, sizeof(p->cap.detail), "TCG: this machine is no arm64");
	else if (res->timed_out)
		snprintf(p->cap.detail, sizeof(p->cap.detail),
			"the probe guest did not end in %d s: is the machine this busy? It is "
			"tried again",
			TIMEOUT_MS / 1000);
	else
		snprintf(p->cap.detail, sizeof(p->cap.detail),
			"the probe guest failed: qemu: %s%s%.90s; try " WEFT_QEMU_ARM64 " -M virt",
			weft_process_status_text(res->status, how, sizeof(how)),
			said[0] ? ": " : "", said);
	finish(p);
}

/* mov w0, #0x84000008 (PSCI's SYSTEM_OFF); hvc #0 */
static const uint8_t guest[] = {
	0x00, 0x01, 0x80, 0x52, 0x00, 0x80, 0xb0, 0x72, 0x02, 0x00, 0x00, 0xd4};

static void on_version(void *userdata, const struct weft_job_result *res)
{
	struct weft_arm_probe *p = userdata;
	static const char *const argv[] = {WEFT_QEMU_ARM64, "-nodefaults", "-no-user-config",
		"-no-reboot", "-display", "none", "-M", "virt", "-accel", "tcg", "-cpu",
		"cortex-a57", "-m", "16", "-device",
		"loader,file=/dev/fd/3,addr=" AT ",force-raw=on,cpu-num=0", NULL};
	char version[32];
	bool known = res->status == 0 && !res->timed_out &&
		     sscanf(res->output, "QEMU emulator version %31[0-9.]", version) == 1;

	weft_job_free(TAKE_PTR(p->job)); /* and what it wrote */
	if (!known) {
		snprintf(p->cap.detail, sizeof(p->cap.detail), "%s does not say its version",
			WEFT_QEMU_ARM64);
		finish(p);
		return;
	}
	snprintf(p->cap.version, sizeof(p->cap.version), "qemu %s", version);
	if (run(p, argv, on_ran) == 0)
		return;
	snprintf(p->cap.detail, sizeof(p->cap.detail), "%s cannot be run", WEFT_QEMU_ARM64);
	finish(p);
}

static int on_missing(sd_event_source *source, void *userdata)
{
	(void)source;
	finish(userdata);
	return 0;
}

int weft_arm_probe(
	sd_event *event, weft_arm_known_t known, void *userdata, struct weft_arm_probe **ret)
{
	static const char *const version[] = {WEFT_QEMU_ARM64, "--version", NULL};
	struct weft_arm_probe *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->event = sd_event_ref(event);
	p->known = known;
	p->userdata = userdata;
	p->cap = (struct weft_runtime_cap){.virt = WEFT_VIRT_UNIKERNEL, .arch = WEFT_ARCH_ARM64};
	p->guest = memfd_create("weft-arm64-probe", MFD_CLOEXEC);
	r = p->guest < 0 ? -errno : weft_write_all(p->guest, guest, sizeof(guest));
	if (r == 0 && run(p, version, on_version) < 0) {
		snprintf(p->cap.detail, sizeof(p->cap.detail),
			WEFT_QEMU_ARM64 " is not installed: apt-get install qemu-system-arm");
		r = sd_event_add_defer(event, &p->defer, on_missing, p);
	}
	if (r < 0) {
		weft_arm_probe_free(p);
		return r;
	}
	*ret = p;
	return 0;
}
