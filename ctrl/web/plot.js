// SPDX-License-Identifier: Apache-2.0
// Lines over time on a canvas: as many series as come, the last `span` seconds of them.

const COLORS = 6;

function nice(max) { // the next 1, 2 or 5 times a power of ten
	const p = 10 ** Math.floor(Math.log10(max || 1));
	return p * [1, 2, 5, 10].find((m) => m * p >= max);
}

export const short = (v) => {
	for (const [n, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
		if (Math.abs(v) >= n)
			return (v / n).toPrecision(3) + unit;
	return String(v >= 100 || Number.isInteger(v) ? Math.round(v) : +v.toPrecision(2));
};

export class Plot {
	constructor(canvas, unit, span = 120) {
		Object.assign(this, { canvas, unit, span, series: new Map(), waits: false });
		new ResizeObserver(() => this.later()).observe(canvas);
	}

	add(name, value, t = Date.now() / 1000) {
		if (!this.series.has(name))
			this.series.set(name, []);
		this.series.get(name).push([t, value]);
		this.later();
	}

	clear() {
		this.series.clear();
		this.later();
	}

	later() {
		if (this.waits)
			return;
		this.waits = true;
		requestAnimationFrame(() => {
			this.waits = false;
			this.draw();
		});
	}

	forget(before) {
		for (const [name, points] of this.series) {
			while (points.length && points[0][0] < before)
				points.shift();
			if (!points.length)
				this.series.delete(name);
		}
	}

	draw() {
		const style = getComputedStyle(document.documentElement), ratio = devicePixelRatio || 1;
		const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
		const now = Date.now() / 1000, left = 48, top = 22, bottom = 6;
		const c = this.canvas.getContext("2d");

		if (!width || !height)
			return;
		this.canvas.width = width * ratio;
		this.canvas.height = height * ratio;
		c.scale(ratio, ratio);
		c.font = "11px system-ui, sans-serif";
		this.forget(now - this.span);
		const max = nice(Math.max(1, ...[...this.series.values()].flat().map((p) => p[1])));
		const x = (t) => width - (now - t) / this.span * (width - left);
		const y = (v) => height - bottom - v / max * (height - top - bottom);

		c.textAlign = "right";
		for (const v of [0, max / 2, max]) {
			c.fillStyle = style.getPropertyValue("--dim");
			c.fillText(short(v), left - 6, y(v) + 4);
			c.fillStyle = style.getPropertyValue("--line");
			c.fillRect(left, y(v), width - left, 1);
		}
		this.lines(c, style, x, y, left);
	}

	lines(c, style, x, y, left) {
		let i = 0, at = left;

		c.textAlign = "left";
		c.lineWidth = 1.5;
		for (const [name, points] of this.series) {
			const text = `${name} ${short(points.at(-1)[1])} ${this.unit}`;

			c.strokeStyle = c.fillStyle = style.getPropertyValue(`--c${i++ % COLORS}`);
			c.beginPath();
			for (const [t, v] of points)
				c.lineTo(x(t), y(v));
			c.stroke();
			c.fillText(text, at, 12);
			at += c.measureText(text).width + 16;
		}
	}
}
