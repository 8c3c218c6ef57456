// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Charts over time. All of a page share their axis and one cursor, which the pointer or the arrow keys move from bin to bin. */
const data = JSON.parse(document.getElementById('data').textContent);
const report = data.report, bins = data.bins, binCount = bins.start_s.length;
const epoch = Date.parse(report.start) || 0;
const endS = binCount ? Math.max(...bins.end_s) : 0, startS = binCount ? Math.min(...bins.start_s) : 0;
const margin = { left: 62, right: 10, top: 8, bottom: 22 };
let charts = []; /* of the agent that is shown */
let keyed = false; /* the cursor is the keys': that the page scrolls below a pointer at rest does not move it */

const dateOf = (s) => new Date(epoch + s * 1000);

/* "03:04:05 – 03:04:06 UTC, 12.0 s in" */
function binTitle(bin) {
	const from = dateOf(bins.start_s[bin]), to = dateOf(bins.end_s[bin]), long = endS - startS >= 86400;
	const text = (d) => clockText(d, true) + (to - from < 999 ? `.${String(d.getUTCMilliseconds()).padStart(3, '0')}` : '');

	return `${long ? dayText(from) + ' ' : ''}${text(from)} – ${text(to)} UTC, ${secondsText(bins.end_s[bin] - startS)} in`;
}

const binAt = (s) => Math.max(0, Math.min(binCount - 1, d3.bisectRight(bins.start_s, s) - 1));

function timeAxis(x, height) {
	const scale = d3.scaleUtc().domain([dateOf(startS), dateOf(endS)]).range(x.range());
	const span = endS - startS, room = Math.max(2, Math.floor((x.range()[1] - x.range()[0]) / 84)), asked = scale.ticks(room), every = Math.ceil(asked.length / room);
	const ticks = asked.filter((_, i) => i % every === 0); /* it may give more than it is asked for */
	const text = (d) => span > 3 * 86400 || (span > 43200 && !d.getUTCHours() && !d.getUTCMinutes()) ? `${dayText(d).slice(5)}` :
		span < 5 ? clockText(d, true) + (d.getUTCMilliseconds() ? `.${Math.floor(d.getUTCMilliseconds() / 100)}` : '') : clockText(d, span < 1200);

	return svg('g', { transform: `translate(0,${height})` }, svg('line', { x1: x.range()[0], x2: x.range()[1], stroke: 'var(--line)' }),
		ticks.map((d) => svg('g', { transform: `translate(${scale(d)},0)` }, svg('line', { y2: 5, stroke: 'var(--line)' }),
			svg('text', { y: 18, 'text-anchor': scale(d) > x.range()[1] - 20 ? 'end' : scale(d) < x.range()[0] + 14 ? 'start' : 'middle' }, text(d)))));
}

function valueAxis(y, ticks, text, width) {
	return svg('g', { class: 'grid' }, ticks.map((t) => svg('g', { transform: `translate(0,${y(t)})` },
		svg('line', { x1: margin.left, x2: width - margin.right }), svg('text', { x: margin.left - 7, dy: '.32em', 'text-anchor': 'end' }, text(t)))));
}

/*
 * options: title, hint, label (for those who don't see it), height, draw({x, width, height}) -> nodes, describe(bin, yPixels) -> {title, rows}, table() -> what
 * stands behind the chart.
 */
function timeChart(options) {
	const surface = svg('svg', { class: 'chart', tabindex: 0, role: 'slider', 'aria-label': options.label || options.title, 'aria-orientation': 'horizontal',
		'aria-valuemin': 0, 'aria-valuemax': Math.max(0, binCount - 1), 'aria-valuenow': 0, 'aria-roledescription': 'chart over time, arrow keys move in it' });
	const figure = el('figure', { 'data-chart': options.id }, el('figcaption', {}, el('h3', {}, options.title), options.hint && el('span', { class: 'hint' }, options.hint)), surface,
		options.table && folded('As a table', options.table));
	const chart = { render, mark };
	let x, at = -1, drawn = 0;

	function render() {
		const width = Math.max(220, surface.getBoundingClientRect().width || figure.clientWidth || 600), height = options.height;

		drawn = width;
		x = d3.scaleLinear().domain([startS, endS > startS ? endS : startS + 1]).range([margin.left, width - margin.right]);
		surface.setAttribute('viewBox', `0 0 ${width} ${height}`);
		surface.setAttribute('height', height);
		surface.replaceChildren(...options.draw({ x, width, height: height - margin.bottom }).flat(Infinity), timeAxis(x, height - margin.bottom),
			svg('line', { class: 'cursor', y1: margin.top, y2: height - margin.bottom, visibility: 'hidden' }));
		mark(at);
	}

	/* Shows the cursor in this bin; -1: nowhere. */
	function mark(bin) {
		const cursor = surface.lastChild;

		at = bin;
		if (!cursor)
			return;
		cursor.setAttribute('visibility', bin < 0 ? 'hidden' : 'visible');
		if (bin < 0)
			return;
		const middle = x((bins.start_s[bin] + bins.end_s[bin]) / 2);

		cursor.setAttribute('x1', middle);
		cursor.setAttribute('x2', middle);
	}

	function tell(bin, clientX, clientY, yPixels) {
		const what = options.describe(bin, yPixels);

		charts.forEach((c) => c.mark(bin));
		surface.setAttribute('aria-valuenow', bin);
		surface.setAttribute('aria-valuetext', [what.title, ...what.rows.map(([, label, value]) => `${label} ${value}`)].join(', '));
		showTip(what, clientX, clientY);
	}

	function leave() {
		charts.forEach((c) => c.mark(-1));
		hideTip();
	}

	surface.addEventListener('pointermove', (event) => {
		if (keyed && !event.movementX && !event.movementY)
			return;
		keyed = false;
		const box = surface.getBoundingClientRect(), scale = drawn / box.width;

		if (binCount)
			tell(binAt(x.invert((event.clientX - box.left) * scale)), event.clientX, event.clientY, (event.clientY - box.top) * scale);
	});
	surface.addEventListener('pointerleave', () => keyed || leave());
	surface.addEventListener('blur', () => {
		keyed = false;
		leave();
	});
	surface.addEventListener('keydown', (event) => {
		const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
		const box = surface.getBoundingClientRect();

		if (event.key === 'Escape')
			leave();
		if (!(event.key in steps) || !binCount)
			return;
		event.preventDefault();
		keyed = true;
		const bin = Math.max(0, Math.min(binCount - 1, (at < 0 ? (steps[event.key] > 0 ? -1 : binCount) : at) + steps[event.key]));

		mark(bin);
		tell(bin, box.left + x((bins.start_s[bin] + bins.end_s[bin]) / 2) * box.width / drawn, box.top + 20);
	});
	charts.push(chart);
	return figure;
}

/* Points of a step line over the agent's bins: value(i) for i from 0 to len - 1, NaN or null where there is none. */
function steps(first, len, value) {
	const points = [];

	for (let i = 0; i < len; i++) {
		const bin = first + i, v = value(i), gap = i && bins.start_s[bin] - bins.end_s[bin - 1] > (bins.end_s[bin] - bins.start_s[bin]) * 0.5;

		if (gap)
			points.push({ s: bins.end_s[bin - 1], v: null }, { s: bins.start_s[bin], v: null });
		points.push({ s: bins.start_s[bin], v }, { s: bins.end_s[bin], v });
	}
	return points;
}

const isThere = (p) => p.v !== null && p.v !== undefined && !Number.isNaN(p.v);
/* Each bin's value as a dash of its own: of percentiles nothing is known in between. */
const dashes = (x, y, first, values) => values.map((v, i) => isThere({ v }) ? `M${x(bins.start_s[first + i]).toFixed(2)} ${y(v).toFixed(2)}H${Math.max(x(bins.end_s[first + i]), x(bins.start_s[first + i]) + 1.5).toFixed(2)}` : '').join('');
const stepLine = (x, y, points) => d3.line().defined(isThere).x((p) => x(p.s)).y((p) => y(p.v))(points);
const stepArea = (x, y, points) => d3.area().defined(isThere).x((p) => x(p.s)).y0(y(0)).y1((p) => y(p.v))(points);
const total = (values) => (values || []).reduce((a, b) => a + b, 0);
