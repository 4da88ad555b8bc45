// SPDX-License-Identifier: Apache-2.0
// Lines over time, drawn by uPlot: as many series as come, the last `span` seconds of them.
/* global uPlot */

const COLORS = 6, TICK_S = 0.25; // values that come within it stand at one time

export const short = (v) => {
	for (const [n, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
		if (Math.abs(v) >= n)
			return (v / n).toPrecision(3) + unit;
	return String(v >= 100 || Number.isInteger(v) ? Math.round(v) : +v.toPrecision(2));
};

export class Plot {
	#times = [];
	#series = new Map(); // name => a value or null for each of the times
	#drawn = null;
	#waits = false;

	constructor(place, unit, span = 120) {
		Object.assign(this, { place, unit, span });
		new ResizeObserver(() => this.#later()).observe(place);
		matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#anew());
	}

	add(name, value, t = Date.now() / 1000) {
		if (!this.#series.has(name)) {
			this.#series.set(name, this.#times.map(() => null));
			this.#remove();
		}
		if (!this.#times.length || t >= this.#times.at(-1) + TICK_S) {
			this.#times.push(t);
			for (const values of this.#series.values())
				values.push(null);
		}
		this.#series.get(name)[this.#times.length - 1] = value;
		this.#later();
	}

	clear() {
		this.#times = [];
		this.#series.clear();
		this.#anew();
	}

	#anew() {
		this.#remove();
		this.#later();
	}

	#remove() {
		this.#drawn?.destroy();
		this.#drawn = null;
	}

	#later() {
		if (this.#waits)
			return;
		this.#waits = true;
		requestAnimationFrame(() => {
			this.#waits = false;
			this.#draw();
		});
	}

	#forget(before) {
		let n = 0;

		while (n < this.#times.length && this.#times[n] < before)
			n++;
		this.#times.splice(0, n);
		for (const [name, values] of this.#series) {
			values.splice(0, n);
			if (values.every((v) => v === null)) {
				this.#series.delete(name);
				this.#remove();
			}
		}
	}

	#options(size) {
		const style = getComputedStyle(document.documentElement), color = (name) => style.getPropertyValue(`--${name}`);
		const axis = { stroke: color("dim"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
		const value = (u, v) => v === null ? "–" : `${short(v)} ${this.unit}`;
		const names = [...this.#series.keys()];

		return {
			...size,
			cursor: { y: false, drag: { x: false, y: false } },
			scales: {
				x: { range: () => [Date.now() / 1000 - this.span, Date.now() / 1000] },
				y: { range: (u, min, max) => uPlot.rangeNum(0, Math.max(1, max ?? 1), 0.1, true) },
			},
			axes: [axis, { ...axis, size: 56, values: (u, all) => all.map(short) }],
			series: [
				{ value: (u, t) => t === null ? "" : new Date(t * 1000).toLocaleTimeString() },
				...names.map((label, i) => ({ label, value, stroke: color(`c${i % COLORS}`), width: 1.5, spanGaps: true, points: { show: false } })),
			],
		};
	}

	#draw() {
		const size = { width: this.place.clientWidth, height: +this.place.dataset.height };

		this.#forget(Date.now() / 1000 - this.span);
		if (!size.width || !this.#series.size)
			return;
		const data = [this.#times, ...this.#series.values()];

		if (!this.#drawn) {
			this.#drawn = new uPlot(this.#options(size), data, this.place);
			this.#last();
			return;
		}
		if (this.#drawn.width !== size.width)
			this.#drawn.setSize(size);
		this.#drawn.setData(data);
		this.#last();
	}

	#last() { // the latest values, unless somebody points at others
		if (!(this.#drawn.cursor.left >= 0))
			this.#drawn.setLegend({ idx: this.#times.length - 1 }, false);
	}
}
