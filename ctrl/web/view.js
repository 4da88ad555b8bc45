// SPDX-License-Identifier: Apache-2.0
// From the API's documents to elements. Texts are set as texts: nothing in them is ever markup.
import { short } from "./plot.js";

export const $ = (id) => document.getElementById(id);

function element(tag, text, classes) {
	const e = document.createElement(tag);

	if (text !== undefined && text !== null)
		e.textContent = text;
	if (classes)
		e.className = classes;
	return e;
}

// columns: [title, item => text or [text, class], is it a number]
function table(target, columns, items, none) {
	const head = element("thead"), body = element("tbody"), row = element("tr");

	for (const [title, , number] of columns)
		row.append(element("th", title, number ? "n" : ""));
	head.append(row);
	for (const item of items) {
		const tr = element("tr");

		for (const [, text, number] of columns) {
			const value = text(item), [t, c] = Array.isArray(value) ? value : [value, ""];

			tr.append(element("td", t, `${number ? "n " : ""}${c}`));
		}
		body.append(tr);
	}
	if (!items.length) {
		const td = element("td", none, "none");

		td.colSpan = columns.length;
		body.append(element("tr"));
		body.lastChild.append(td);
	}
	target.replaceChildren(head, body);
}

const bytes = (n) => n >= 2 ** 30 ? `${(n / 2 ** 30).toFixed(1)} GiB` : `${(n / 2 ** 20).toFixed(1)} MiB`;
const ago = (ms) => {
	const s = Math.max(0, Math.round((Date.now() - ms) / 1000));

	return s < 90 ? `${s}s` : s < 5400 ? `${Math.round(s / 60)}m` : s < 129600 ? `${Math.round(s / 3600)}h` : `${Math.round(s / 86400)}d`;
};
const clock = (ms) => new Date(ms).toLocaleTimeString();
const took = (from, to) => `${(((to ?? Date.now()) - from) / 1000).toFixed(1)}s`;
const percent = (n) => `${Math.round(n * 100)} %`;
const micro = (us) => !us ? "–" : us < 1000 ? `${short(us)} µs` : `${short(us / 1000)} ms`;
const nano = (ns) => micro(ns / 1000);
const phase = (p) => [p, { running: "good", ready: "good", done: "good", failed: "bad", lost: "bad", degraded: "warn", "rolled-back": "bad" }[p] ?? "dim"];

export function status(s) {
	$("node").textContent = `${s.node.name} (${s.node.arch}) · weftd ${s.version} · up ${ago(Date.now() - s.uptime_s * 1000)}`;
	$("state").textContent = `data plane ${s.dataplane.state} (${s.dataplane.hook}), ${s.dataplane.flows} flows · store ${s.store.state}`;
	$("state").className = s.dataplane.state === "ok" && s.store.state === "ok" ? "good" : "bad";
	$("problems").replaceChildren(...s.problems.map((p) => element("li", p)));
}

// rates: what the data plane counted in the last second, by service
export function services(items, rates) {
	table($("services"), [
		["Service", (s) => s.name],
		["Address", (s) => s.vip ?? ""],
		["Phase", (s) => phase(s.phase)],
		["Instances", (s) => `${s.ready}/${s.replicas}`, true],
		["Runs as", (s) => s.active],
		["Could run as", (s) => s.variants.map((v) => v.virtualization).join(", "), false],
		["New flows/s", (s) => short(rates.get(s.name)?.flows ?? 0), true],
		["Packets/s", (s) => short(rates.get(s.name)?.packets ?? 0), true],
		["Age", (s) => ago(s.created_ms), true],
		["", (s) => [s.detail, "dim"]],
	], items, "no service: weft apply -f FILE");
}

// share: of new flows, by instance; cpu: percent of one CPU, by instance
export function instances(items, share, cpu) {
	table($("instances"), [
		["Instance", (i) => i.id],
		["Runs as", (i) => i.virtualization],
		["Phase", (i) => phase(i.phase)],
		["Address", (i) => i.ns_addr ?? ""],
		["Share", (i) => share.has(i.id) ? percent(share.get(i.id)) : "–", true],
		["Flows", (i) => i.flows, true],
		["CPU", (i) => `${(cpu.get(i.id) ?? 0).toFixed(1)} %`, true],
		["Memory", (i) => bytes(i.memory_bytes), true],
		["Age", (i) => ago(i.created_ms), true],
		["", (i) => [i.detail, "dim"]],
	], items, "no instance");
}

const effect = (e) => e ? ` p50 ${micro(e.p50_us)} p90 ${micro(e.p90_us)} failed ${e.failed}/${e.requests}` : "";

function swapCard(s) {
	const card = element("div", null, "swap"), bar = element("div", null, "share"), list = element("ul", null, "phases");
	const share = [element("div", `new ${percent(s.weight_new)}`, "new"), element("div", `old ${percent(1 - s.weight_new)}`, "old")];

	card.dataset.swap = s.id;
	card.append(element("h3", `${s.service}: ${s.from} → ${s.to} · ${s.state}${s.paused ? ", paused" : ""}`));
	share[0].style.width = percent(s.weight_new).replace(" ", "");
	bar.append(...share);
	for (const p of s.phases) {
		const li = element("li", `${p.name} ${took(p.started_ms, p.ended_ms)}`, p.ended_ms ? "" : "now");

		if (p.old || p.new)
			li.append(element("span", `${p.old ? ` old${effect(p.old)}` : ""}${p.new ? ` new${effect(p.new)}` : ""}`, "dim"));
		list.append(li);
	}
	card.append(bar, list, element("p", `${s.flows_old} flows on the old · swap ${s.id} · ${s.detail}`, "dim"));
	return card;
}

export function swaps(items) {
	const running = items.filter((s) => !s.ended_ms);

	$("running").hidden = !running.length;
	$("swaps").replaceChildren(...running.map(swapCard));
	table($("history"), [
		["Swap", (s) => s.id],
		["Service", (s) => s.service],
		["From", (s) => s.from],
		["To", (s) => s.to],
		["Result", (s) => phase(s.state)],
		["Ended", (s) => clock(s.ended_ms)],
		["Took", (s) => took(s.started_ms, s.ended_ms), true],
		["", (s) => [s.error?.message ?? "", "bad"]],
	], items.filter((s) => s.ended_ms).slice(0, 10), "none yet");
}

export function drops(items, rates) {
	table($("drops"), [
		["Reason", (d) => d.reason],
		["What it means", (d) => [d.text, "dim"]],
		["Packets", (d) => d.packets, true],
		["Now/s", (d) => short(rates.get(d.reason) ?? 0), true],
	], items.filter((d) => d.packets > 0), "none");
}

export function events(items) {
	table($("events"), [
		["Time", (e) => clock(e.t_us / 1000)],
		["What", (e) => e.kind],
		["Which", (e) => e.object],
		["Happened", (e) => e.action],
		["", (e) => [e.data ? JSON.stringify(e.data) : "", "dim"]],
	], items, "none");
}

function partBar(group) {
	const bar = element("div", null, "part");

	group.parts.forEach((p, i) => {
		const e = element("div", `${p.part} ${nano(p.p50_ns)}`, `c${i % 6}`);

		e.style.width = `${p.share * 100}%`;
		e.title = e.textContent;
		bar.append(e);
	});
	return bar;
}

export function trace(t) {
	const rows = [];

	$("parts").replaceChildren();
	for (const g of t.groups) {
		$("parts").append(element("div", `${g.name}: where the median of a round trip goes`), partBar(g));
		for (const way of ["request", "reply"].map((d) => g.ways.find((w) => w.direction === d)))
			for (const hop of way?.hops ?? [])
				rows.push({ group: g.name, direction: way.direction, ...hop });
	}
	table($("hops"), [
		["Of", (h) => h.group],
		["Direction", (h) => h.direction],
		["From", (h) => h.from],
		["To", (h) => h.to],
		["Charged to", (h) => h.part],
		["Packets", (h) => h.count, true],
		["p50", (h) => nano(h.p50_ns), true],
		["p90", (h) => nano(h.p90_ns), true],
		["p99", (h) => nano(h.p99_ns), true],
	], rows, "no packet yet");
}

// The choice stays when the list changes.
export function choices(names) {
	const select = $("traced"), now = [...select.options].map((o) => o.value);

	if (names.join("\n") !== now.join("\n")) {
		const chosen = select.value;

		select.replaceChildren(...names.map((n) => element("option", n)));
		if (names.includes(chosen))
			select.value = chosen;
	}
	$("trace").disabled = !names.length;
}
