/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/accel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/job.h"
#include "runtimes/qemu/machine.h"

#define VERSION_TIMEOUT_MS 60000
#define PROBE_TIMEOUT_MS   1000
#define PROBE_ANSWER       16 /* as probe_guest.S says */
#define PROBE_RING0        1
#define PROBE_RING3        2

static const char *const kvm_names[] = {
	[WEFT_KVM_ABSENT] = "absent",
	[WEFT_KVM_UNUSABLE] = "unusable",
	[WEFT_KVM_RING3] = "ring3",
	[WEFT_KVM_FULL] = "full",
};
_Static_assert(ARRAY_SIZE(kvm_names) == WEFT_KVM_COUNT, "a name for every state of KVM");

struct weft_accel_ask {
	struct weft_accel *accel;
	struct weft_accel_ask *prev, *next;
	weft_accel_known_t known;
	void *userdata;
};

struct weft_accel {
	sd_event *event;
	char *cache, *guest; /* files */
	struct weft_accel_state state;
	bool known;
	struct weft_accel_ask *asks;
	struct weft_job *job;
	sd_event_source *tell;
};

/* --- what the answer means -----------------------------------------------------------------------
 */

bool weft_accel_use_kvm(const struct weft_accel_state *state, const struct weft_hints *hints)
{
	if (hints->accel == WEFT_ACCEL_TCG)
		return false;
	if (state->kvm == WEFT_KVM_FULL)
		return true;
	/* Where only ring 3 is native, leaving it costs 28 us instead of 0.1: TCG serves a guest
	 * that does much I/O better, so that KVM is for the image to ask for. */
	return state->kvm == WEFT_KVM_RING3 && hints->ring3 && hints->accel == WEFT_ACCEL_KVM;
}

const char *weft_accel_text(const struct weft_accel_state *state, char *buf, size_t size)
{
	switch (state->kvm) {
	case WEFT_KVM_FULL:
		snprintf(buf, size, "KVM");
		break;
	case WEFT_KVM_RING3:
		snprintf(buf, size, "TCG: KVM present, ring 0 unusable");
		break;
	case WEFT_KVM_UNUSABLE:
		snprintf(buf, size, "TCG: KVM present, unusable (probe guest: %s)", state->why);
		break;
	default:
		snprintf(buf, size, "TCG: no /dev/kvm");
	}
	return buf;
}

/* --- the answer of this boot ---------------------------------------------------------------------
 */

static void save(struct weft_accel *a)
{
	_cleanup_(freep) char *text = NULL;
	json_auto_t *o = NULL;
	char boot[64];

	if (weft_boot_id(boot, sizeof(boot)) < 0)
		return;
	o = json_pack("{s:s, s:s, s:s, s:s}", "boot", boot, "qemu", a->state.version, "kvm",
		kvm_names[a->state.kvm], "why", a->state.why);
	text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
	if (text && weft_write_file(a->cache, text, strlen(text), 0600) < 0)
		log_debug("qemu: cannot keep the accelerator's probe in %s", a->cache);
}

static bool load(struct weft_accel *a)
{
	_cleanup_(freep) char *text = NULL;
	const char *boot, *version, *kvm, *why;
	json_auto_t *o = NULL;
	char now[64];

	if (weft_boot_id(now, sizeof(now)) < 0 || weft_read_file(a->cache, 4096, &text, NULL) < 0)
		return false;
	o = json_loads(text, 0, NULL);
	if (json_unpack(o, "{s:s, s:s, s:s, s:s}", "boot", &boot, "qemu", &version, "kvm", &kvm,
		    "why", &why) < 0)
		return false;
	if (strcmp(boot, now) != 0 || strcmp(version, a->state.version) != 0)
		return false;
	for (int i = 0; i < WEFT_KVM_COUNT; i++) {
		if (strcmp(kvm, kvm_names[i]) != 0)
			continue;
		a->state.kvm = (enum weft_kvm)i;
		snprintf(a->state.why, sizeof(a->state.why), "%s", why);
		return true;
	}
	return false;
}

/* --- finding out ---------------------------------------------------------------------------------
 */

static void ask_unlink(struct weft_accel_ask *ask)
{
	if (ask->next)
		ask->next->prev = ask->prev;
	if (ask->prev)
		ask->prev->next = ask->next;
	else
		ask->accel->asks = ask->next;
	free(ask);
}

static int on_tell(sd_event_source *source, void *userdata)
{
	struct weft_accel *a = userdata;
	struct weft_accel_ask *first = a->asks, ask;

	if (!first)
		return 0;
	ask = *first;
	ask_unlink(first);
	/* One in a turn: the callback may cancel others, or free us. */
	if (ask.next)
		sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	ask.known(ask.userdata, &a->state);
	return 0;
}

static void finish(struct weft_accel *a, bool keep)
{
	char text[192];

	a->known = true;
	if (keep)
		save(a);
	if (a->state.installed)
		log_debug("qemu %s: %s", a->state.version,
			weft_accel_text(&a->state, text, sizeof(text)));
	sd_event_source_set_enabled(a->tell, SD_EVENT_ONESHOT);
}

static void on_probed(void *userdata, const struct weft_job_result *res)
{
	int code = WIFEXITED(res->status) ? WEXITSTATUS(res->status) : -1;
	struct weft_accel *a = userdata;
	bool answered = !res->timed_out;
	char text[64];

	/* isa-debug-exit ends qemu with twice the byte plus one. */
	a->state.kvm = WEFT_KVM_UNUSABLE;
	a->state.why[0] = '\0';
	if (answered && code > 0 && (code & 1) && (code >> 1 & ~3) == PROBE_ANSWER) {
		if (code >> 1 & PROBE_RING3)
			a->state.kvm = code >> 1 & PROBE_RING0 ? WEFT_KVM_FULL : WEFT_KVM_RING3;
		else
			snprintf(
				a->state.why, sizeof(a->state.why), "no ring runs at a sane speed");
	} else if (!answered) {
		snprintf(
			a->state.why, sizeof(a->state.why), "no answer in %d ms", PROBE_TIMEOUT_MS);
	} else {
		snprintf(a->state.why, sizeof(a->state.why), "qemu ended with %s",
			weft_process_status_text(res->status, text, sizeof(text)));
	}
	weft_job_free(TAKE_PTR(a->job));
	/* A busy host may have been the reason for no answer: the next daemon asks again. */
	finish(a, answered);
}

static int run(struct weft_accel *a, const char *const *argv, unsigned timeout_ms,
	weft_job_done_t done, struct weft_err *err)
{
	const struct weft_process_spec spec = {
		.argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};

	return weft_job_run(a->event, &spec, 4096, timeout_ms, done, a, &a->job, err);
}

static void probe_kvm(struct weft_accel *a)
{
	const char *const argv[] = {WEFT_QEMU_AMD64, "-nodefaults", "-no-user-config", "-no-reboot",
		"-display", "none", "-M", WEFT_QEMU_MICROVM ",acpi=off", "-accel", "kvm", "-cpu",
		WEFT_QEMU_KVM_CPU, "-m", "16", "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
		"-kernel", a->guest, NULL};
	struct weft_err err = {};

	a->state.kvm = WEFT_KVM_ABSENT;
	a->state.why[0] = '\0';
	if (access("/dev/kvm", F_OK) < 0) {
		finish(a, false);
		return;
	}
	if (access(a->guest, R_OK) < 0)
		weft_err_set(&err, errno, "%s: %m", a->guest);
	else if (run(a, argv, PROBE_TIMEOUT_MS, on_probed, &err) == 0)
		return;
	a->state.kvm = WEFT_KVM_UNUSABLE;
	snprintf(a->state.why, sizeof(a->state.why), "%.90s", err.msg);
	finish(a, false);
}

static void on_version(void *userdata, const struct weft_job_result *res)
{
	struct weft_accel *a = userdata;
	char text[64];

	/* "QEMU emulator version 7.2.22 (Debian ...)" */
	a->state.installed =
		res->status == 0 && !res->timed_out &&
		sscanf(res->output, "QEMU emulator version %31[0-9.]", a->state.version) == 1;
	if (res->timed_out)
		snprintf(a->state.why, sizeof(a->state.why),
			"does not say its version in %d s: is the machine this busy?",
			VERSION_TIMEOUT_MS / 1000);
	else if (!a->state.installed)
		snprintf(a->state.why, sizeof(a->state.why), "does not say its version: %s",
			weft_process_status_text(res->status, text, sizeof(text)));
	weft_job_free(TAKE_PTR(a->job));
	if (!a->state.installed || load(a))
		finish(a, false);
	else
		probe_kvm(a);
}

static void find_out(struct weft_accel *a)
{
	const char *const argv[] = {WEFT_QEMU_AMD64, "--version", NULL};

	a->known = false;
	a->state = (struct weft_accel_state){};
	if (run(a, argv, VERSION_TIMEOUT_MS, on_version, NULL) < 0)
		finish(a, false);
}

int weft_accel_ask(
	struct weft_accel *a, weft_accel_known_t known, void *userdata, struct weft_accel_ask **ret)
{
	struct weft_accel_ask *ask = calloc(1, sizeof(*ask));

	if (!ask)
		return -ENOMEM;
	*ask = (struct weft_accel_ask){
		.accel = a, .next = a->asks, .known = known, .userdata = userdata};
	if (ask->next)
		ask->next->prev = ask;
	a->asks = ask;
	if (a->known && a->state.installed)
		sd_event_source_set_enabled(a->tell, SD_EVENT_ONESHOT);
	else if (!a->job)
		find_out(a);
	*ret = ask;
	return 0;
}

void weft_accel_cancel(struct weft_accel_ask *ask)
{
	if (ask)
		ask_unlink(ask);
}

int weft_accel_new(sd_event *event, const char *dir, const char *libexec_dir,
	struct weft_accel **ret, struct weft_err *err)
{
	_cleanup_(weft_accel_freep) struct weft_accel *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return weft_err_set(err, ENOMEM, "qemu: out of memory");
	a->event = sd_event_ref(event);
	a->cache = weft_strf("%s/accel.json", dir);
	a->guest = weft_strf("%s/weft-probe-guest.elf", libexec_dir);
	r = a->cache && a->guest ? sd_event_add_defer(event, &a->tell, on_tell, a) : -ENOMEM;
	if (r >= 0)
		r = sd_event_source_set_enabled(a->tell, SD_EVENT_OFF);
	if (r < 0)
		return weft_err_set(err, r, "qemu: %s", strerror(-r));
	*ret = TAKE_PTR(a);
	return 0;
}

void weft_accel_free(struct weft_accel *a)
{
	if (!a)
		return;
	while (a->asks)
		ask_unlink(a->asks);
	weft_job_free(a->job);
	sd_event_source_disable_unref(a->tell);
	sd_event_unref(a->event);
	free(a->cache);
	free(a->guest);
	free(a);
}
