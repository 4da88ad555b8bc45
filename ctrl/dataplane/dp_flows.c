/* SPDX-License-Identifier: Apache-2.0 */
/* Sweeps of the flow table through its mapping: half a millisecond for a million entries. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "ctrl/base/util.h"
#include "ctrl/dataplane/dp.h"

/* The programs' clock: bpf_ktime_get_coarse_ns(). */
static uint64_t coarse_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static uint64_t load(const uint64_t *place)
{
	return __atomic_load_n(place, __ATOMIC_RELAXED);
}

/* Delete word unless a packet has changed it meanwhile: then it is alive, or somebody else's. */
static void drop(uint64_t *place, uint64_t word)
{
	__atomic_compare_exchange_n(place, &word, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static uint64_t *words(struct weft_dp *dp)
{
	return (uint64_t *)dp->flows;
}

static size_t words_count(struct weft_dp *dp)
{
	return (size_t)dp->flow_buckets * WEFT_BUCKET_WORDS;
}

/* Is it of an instance that holds its id no longer, or whose flows were purged? */
static bool orphaned(struct weft_dp *dp, uint64_t word)
{
	const struct weft_bpf_instance *inst = &dp->instances[weft_flow_id(word)];

	return !inst->active || weft_flow_generation(word) != (inst->generation & 3);
}

void dp_flows_forget(struct weft_dp *dp, uint32_t id)
{
	uint64_t *place = words(dp), *end = place + words_count(dp);

	for (; place < end; place++) {
		uint64_t word = load(place);

		/* Again while it is only being touched: an orphan must not outlive this. */
		while (word && weft_flow_id(word) == id && orphaned(dp, word)) {
			drop(place, word);
			word = load(place);
		}
	}
}

int weft_dp_flows_purge(struct weft_dp *dp, uint32_t instance)
{
	if (instance == 0 || instance >= WEFT_MAX_INSTANCES)
		return -EINVAL;
	__atomic_add_fetch(&dp->instances[instance].generation, 1, __ATOMIC_RELEASE);
	dp_flows_forget(dp, instance);
	return 0;
}

/* Words also age here: their time stamp wraps, and an entry that nobody looks for would seem young
 * again after that. */
int weft_dp_flows_count(struct weft_dp *dp, uint32_t *ret, uint32_t *ret_reverse)
{
	uint64_t *place = words(dp), *end = place + words_count(dp), now = coarse_ns();

	memset(ret, 0, WEFT_DP_MAX_INSTANCES * sizeof(*ret));
	if (ret_reverse)
		memset(ret_reverse, 0, WEFT_DP_MAX_INSTANCES * sizeof(*ret_reverse));
	for (; place < end; place++) {
		uint64_t word = load(place);

		if (!word)
			continue;
		if (orphaned(dp, word) || weft_flow_expired(word, now))
			drop(place, word);
		else if (!weft_flow_live(word, now))
			continue;
		else if (!(word & WEFT_FLOW_REVERSE))
			ret[weft_flow_id(word)]++;
		else if (ret_reverse)
			ret_reverse[weft_flow_id(word)]++;
	}
	dp_sockmap_sweep(dp);
	return 0;
}

static const char *state_name(uint32_t state)
{
	static const char *const names[] = {
		[WEFT_FLOW_DATAGRAM] = "udp",
		[WEFT_FLOW_SYN] = "syn",
		[WEFT_FLOW_ESTABLISHED] = "established",
		[WEFT_FLOW_FIN_CLIENT] = "closing",
		[WEFT_FLOW_FIN_SERVER] = "closing",
	};

	return state < ARRAY_SIZE(names) && names[state] ? names[state] : "unknown";
}

int weft_dp_flows_each(struct weft_dp *dp, uint64_t first, uint64_t n,
	int (*cb)(void *userdata, const struct weft_dp_flow *f), void *userdata)
{
	uint64_t all = words_count(dp), from = first < all ? first : all, now = coarse_ns();
	uint64_t *place = words(dp) + from, *end = place + (n < all - from ? n : all - from);
	int r = 0;

	for (; place < end && r == 0; place++) {
		uint64_t word = load(place);
		uint32_t state = weft_flow_state(word);
		struct weft_dp_flow f = {
			.place = (uint64_t)(place - words(dp)),
			.instance = weft_flow_id(word),
			.service = dp->instances[weft_flow_id(word)].service,
			.reverse = word & WEFT_FLOW_REVERSE,
			.state = state_name(state),
		};

		if (!weft_flow_live(word, now) || orphaned(dp, word))
			continue;
		f.idle_s = (uint32_t)(((uint64_t)weft_flow_age(word, now)
					      << weft_flow_tick_shift(state)) /
				      1000000000ULL);
		r = cb(userdata, &f);
	}
	return r;
}
