// SPDX-License-Identifier: Apache-2.0
// Asks the API once a second, and follows its events. Over TLS it needs a token, which is kept for
// this tab alone; behind a proxy to the unix socket it needs none.
import { Plot } from "./plot.js";
import * as view from "./view.js";

const { $ } = view;
const EVENTS = 30, FOLLOW_S = 3600, TRACE_MS = 30000, EVERY_MS = 1000;
let token = sessionStorage.getItem("token");

class Refused extends Error { }

async function ask(path) {
	const headers = token ? { Authorization: `Bearer ${token}` } : {};
	const answer = await fetch(path, { headers, cache: "no-store" });

	if (answer.ok)
		return answer;
	const error = (await answer.json().catch(() => ({}))).error ?? { message: `HTTP ${answer.status}` };

	throw answer.status === 401 ? new Refused(error.message) : new Error(error.message);
}

const get = async (path) => (await ask(path)).json();

// Each line of an answer that goes on is a document.
async function follow(path, use) {
	const reader = (await ask(path)).body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";

	for (;;) {
		const { value, done } = await reader.read();

		if (done)
			return;
		const lines = (rest + value).split("\n");

		rest = lines.pop();
		for (const line of lines.filter((l) => l))
			use(JSON.parse(line));
	}
}

// What a counter gained since it was last seen, in a second.
class Rates {
	#last = new Map();

	of(key, value, scale = 1) {
		const now = performance.now(), before = this.#last.get(key);

		this.#last.set(key, [now, value]);
		return before && value >= before[1] ? (value - before[1]) / (now - before[0]) * 1000 * scale : 0;
	}
}

const rates = new Rates(), flows = new Plot($("rate"), "new flows/s"), latency = new Plot($("latency"), "µs", TRACE_MS / 1000);
const swapped = new Plot($("swapped"), "µs");

function showServices(items) {
	const now = new Map(items.map((s) => [s.name, {
		flows: rates.of(`flows ${s.name}`, s.counters.new_flows),
		packets: rates.of(`packets ${s.name}`, s.counters.packets),
	}]));

	view.services(items, now);
	view.choices(items.map((s) => s.name));
	for (const [name, rate] of now)
		flows.add(name, rate.flows);
}

function showInstances(items, lb) {
	const share = new Map(lb.filter((b) => b.policy === "rr").map((b) => [b.instance, b.share]));
	const cpu = new Map(items.map((i) => [i.id, rates.of(`cpu ${i.id}`, i.cpu_ns, 1e-7)]));

	view.instances(items, share, cpu);
}

function showDrops(items) {
	view.drops(items, new Map(items.map((d) => [d.reason, rates.of(`drop ${d.reason}`, d.packets)])));
}

// Of what the present phase of each running swap has timed so far.
function showSwaps(items) {
	const all = items.filter((s) => !s.ended_ms).flatMap((s) => ["old", "new"].map((side) =>
		[`p99 ${s.service} ${side} (${side === "old" ? s.from : s.to})`, s.phases.at(-1)?.[side]?.p99_us]));

	view.swaps(items);
	for (const [name, us] of all.filter(([, v]) => v)) {
		$("swapped").hidden = false;
		swapped.add(name, us);
	}
	if (!all.length && !$("swapped").hidden) {
		$("swapped").hidden = true;
		swapped.clear();
	}
}

async function look() {
	const [status, services, instances, swaps, drops, lb] = await Promise.all(
		["status", "services", "instances", "swaps", "dp/drops", "dp/lb"].map((p) => get(`v1/${p}`)));

	view.status(status);
	showServices(services.items);
	showInstances(instances.items, lb.items);
	showSwaps(swaps.items);
	showDrops(drops.items);
	$("login").hidden = true;
	$("main").hidden = false;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// A new token starts all of it anew; what runs for an old one ends at its next turn.
let turn = 0;

function login(why) {
	turn++;
	$("why").textContent = token ? why : "";
	$("node").textContent = "";
	$("state").textContent = "";
	$("main").hidden = true;
	$("login").hidden = false;
	$("token").focus();
}

async function keep(mine, task) {
	while (mine === turn) {
		try {
			await task();
		} catch (e) {
			if (mine !== turn)
				return;
			if (e instanceof Refused) {
				login(e.message);
				return;
			}
			$("state").textContent = `weftd does not answer: ${e.message}`;
			$("state").className = "bad";
		}
		await pause(EVERY_MS);
	}
}

let seen = [];

async function watchEvents() {
	const mine = turn;

	await follow(`v1/events?wait=${FOLLOW_S}&since=${seen[0]?.seq ?? 0}`, (e) => {
		if (mine !== turn)
			throw new Error("of an old token");
		seen = [e, ...seen].slice(0, EVENTS);
		view.events(seen);
	});
}

async function start() {
	const mine = ++turn;

	seen = [];
	view.events(seen);
	try {
		await get("v1/status");
	} catch (e) {
		if (e instanceof Refused) {
			login(e.message);
			return;
		}
	}
	keep(mine, look);
	keep(mine, watchEvents);
}

$("login").addEventListener("submit", (event) => {
	event.preventDefault();
	token = $("token").value.trim();
	sessionStorage.setItem("token", token);
	$("token").value = "";
	start();
});

$("trace").addEventListener("click", async () => {
	const name = $("traced").value;

	$("trace").disabled = true;
	latency.clear();
	$("latency").hidden = false;
	$("trace-state").textContent = `looking at ${name}`;
	try {
		await follow(`v1/trace/${encodeURIComponent(name)}?duration_ms=${TRACE_MS}&interval_ms=${EVERY_MS}`, (t) => {
			if (t.error)
				throw new Error(t.error.message);
			view.trace(t);
			for (const g of t.groups)
				for (const w of g.ways.filter((way) => way.round_trip?.count))
					latency.add(g.name, w.round_trip.p50_ns / 1000);
			$("trace-state").textContent = t.ended === null ? `${Math.round(t.t_ms / 1000)} s` : "";
		});
	} catch (e) {
		$("trace-state").textContent = e.message;
	}
	$("trace").disabled = false;
});

start();
