// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* How long things took: heat maps over time, percentiles and distributions. */
const SHADES = 7;
const base = (scale) => 2 ** (2 ** -scale);

/* Of a logarithmic axis: powers of ten, where there are few of them 1, 2 and 5 times those, and at least its ends. */
function roundTicks(axis) {
	const digit = (t) => Math.round(t / 10 ** Math.floor(Math.log10(t) + 1e-9)), [from, to] = d3.extent(axis.domain());
	const ticks = axis.ticks(10).filter((t) => digit(t) === 1 || digit(t) === 10), finer = axis.ticks(30).filter((t) => [1, 2, 5, 10].includes(digit(t)));

	return ticks.length > 2 ? ticks : finer.length > 1 ? finer : [from, to];
}

function heatMap(metric, heat, first) {
	const info = data.metrics[metric], b = base(heat.scale), len = heat.cells.length;
	const border = (row) => b ** (heat.offset + row); /* lower end of a row */
	const most = heat.cells.reduce((m, c) => c.slice(1).reduce((a, v) => Math.max(a, v), m), 1);
	const shade = (count) => Math.min(SHADES, 1 + Math.floor(SHADES * Math.log1p(count - 1) / Math.log1p(most)));
	const countIn = (i, row) => heat.cells[i].length && row >= heat.cells[i][0] ? heat.cells[i][1 + row - heat.cells[i][0]] || 0 : 0;
	let y;

	/* A path a shade: some hundreds of cells are drawn as one. */
	function draw({ x, width, height }) {
		const paths = Array.from({ length: SHADES + 1 }, () => []);

		y = d3.scaleLog().domain([border(0), border(heat.rows)]).range([height, margin.top]).clamp(true);
		heat.cells.forEach((cell, i) => {
			const left = x(bins.start_s[first + i]), right = Math.max(x(bins.end_s[first + i]), left + 1);

			cell.slice(1).forEach((count, n) => {
				const row = cell[0] + n;

				if (count)
					paths[shade(count)].push(`M${left.toFixed(2)} ${y(border(row)).toFixed(2)}H${right.toFixed(2)}V${y(border(row + 1)).toFixed(2)}H${left.toFixed(2)}Z`);
			});
		});

		return [valueAxis(y, roundTicks(y), (v) => unitText(v, info.unit).replace(/\.0+(?= )/, ''), width),
			paths.map((p, i) => p.length && svg('path', { class: `heat-${i}`, d: p.join('') })).filter(Boolean),
			['p50', 'p99'].map((q) => [svg('path', { class: 'halo', d: dashes(x, y, first, heat[q]) }), svg('path', { class: q, d: dashes(x, y, first, heat[q]) })])];
	}

	function describe(bin, yPixels) {
		const i = bin - first, count = i >= 0 && i < len ? heat.count[i] : 0;
		const rows = [[null, 'values', countText(count)]];

		if (count)
			rows.push(['var(--p50)', 'p50', unitText(heat.p50[i], info.unit)], ['var(--p99)', 'p99', unitText(heat.p99[i], info.unit)]);
		if (count && yPixels !== undefined) {
			const row = Math.max(0, Math.min(heat.rows - 1, Math.floor(Math.log(y.invert(yPixels)) / Math.log(b) - heat.offset)));

			rows.push([`var(--heat-${countIn(i, row) ? shade(countIn(i, row)) : 1})`, `${unitText(border(row), info.unit)} to ${unitText(border(row + 1), info.unit)}`, countText(countIn(i, row))]);
		}
		return { title: binTitle(bin), rows };
	}

	const all = report.agents.find((a) => a.id === shownId).hist[metric];

	return timeChart({ id: metric, title: metric, hint: info.help, height: 210, draw, describe,
		label: `${metric} over time, ${info.help}: ${countText(all.count)} values, p50 ${unitText(all.p50, info.unit)}, p99 ${unitText(all.p99, info.unit)}`,
		table: () => table(`${metric} over time`, [
			{ title: 'from (UTC)', value: (n) => bins.start_s[first + n], text: (v) => clockText(dateOf(v), true) },
			{ title: 'values', key: 'count', num: true, value: (n) => heat.count[n], text: countText },
			{ title: 'p50', num: true, value: (n) => heat.p50[n], text: (v) => unitText(v, info.unit) },
			{ title: 'p99', num: true, value: (n) => heat.p99[n], text: (v) => unitText(v, info.unit) },
		], heat.cells.map((_, i) => i).filter((i) => heat.count[i]), { name: `heat-${metric}` }) });
}

function latencySection(agent, more) {
	const maps = Object.entries(more.timeline.heat).filter(([, heat]) => heat.rows);

	if (!maps.length)
		return null;
	return section('latency', 'Latency over time', null,
		el('p', { class: 'hint' }, el('span', { class: 'key' }, 'few ', el('span', { class: 'ramp', 'aria-hidden': 'true' }, Array.from({ length: SHADES }, (_, i) => el('i', { style: { background: `var(--heat-${i + 1})` } }))), ' many values'),
			el('span', { class: 'key' }, el('i', { style: { background: 'var(--p50)' } }), 'p50'), el('span', { class: 'key' }, el('i', { style: { background: 'var(--p99)' } }), 'p99')),
		el('div', { class: 'heats' }, maps.map(([metric, heat]) => heatMap(metric, heat, more.timeline.first))));
}

/* The distribution as bars, on a logarithmic axis. */
function distribution(metric, of, figures) {
	const info = data.metrics[metric], b = base(of.scale), width = 640, height = 150, most = Math.max(...of.counts, 1);
	const first = of.counts.findIndex((c) => c), last = of.counts.length - 1 - [...of.counts].reverse().findIndex((c) => c);

	if (first < 0)
		return el('p', { class: 'hint' }, `All ${countText(of.zero)} values are 0.`);
	const x = d3.scaleLog().domain([b ** (of.offset + first), b ** (of.offset + last + 1)]).range([8, width - 8]);
	const y = d3.scaleLinear().domain([0, most]).range([height - 22, 6]);
	const bars = of.counts.map((count, i) => count && svg('rect', { x: x(b ** (of.offset + i)), width: Math.max(1, x(b ** (of.offset + i + 1)) - x(b ** (of.offset + i)) - 0.5),
		y: Math.min(y(count), height - 23), height: Math.max(1, height - 22 - y(count)) },
	svg('title', {}, `${unitText(b ** (of.offset + i), info.unit)} to ${unitText(b ** (of.offset + i + 1), info.unit)}: ${countText(count)}`))).filter(Boolean);
	const marks = ['p50', 'p99'].map((q) => svg('line', { class: q, x1: x(Math.max(figures[q], b ** (of.offset + first))), x2: x(Math.max(figures[q], b ** (of.offset + first))), y1: 2, y2: height - 22 }));

	return el('figure', { 'data-dist': metric }, svg('svg', { class: 'dist', viewBox: `0 0 ${width} ${height}`, role: 'img', style: { maxWidth: '760px' },
		'aria-label': `Distribution of ${metric}: from ${unitText(figures.min, info.unit)} to ${unitText(figures.max, info.unit)}, half of the values up to ${unitText(figures.p50, info.unit)}` },
	bars, marks, svg('line', { x1: 8, x2: width - 8, y1: height - 22, y2: height - 22, stroke: 'var(--line)' }),
	roundTicks(x).map((t) => svg('text', { x: x(t), y: height - 6, 'text-anchor': x(t) < 30 ? 'start' : x(t) > width - 30 ? 'end' : 'middle' }, unitText(t, info.unit).replace(/\.0+(?= )/, '')))),
	el('figcaption', {}, el('span', { class: 'hint' }, el('span', { class: 'key' }, el('i', { style: { background: 'var(--p50)' } }), 'p50'), el('span', { class: 'key' }, el('i', { style: { background: 'var(--p99)' } }), 'p99'),
		of.zero ? `; ${countText(of.zero)} values of 0 are not drawn` : '')));
}

const histColumns = (unitOf) => ['mean', 'p50', 'p90', 'p95', 'p99', 'max', 'sum'].map((key) => ({ title: key, key, num: true, value: (r) => r.of[key], text: (v, r) => unitText(v, unitOf(r)) }));

function histSection(agent, more) {
	const rows = Object.entries(agent.hist).map(([metric, of]) => ({ metric, of }));

	if (!rows.length)
		return null;
	return section('percentiles', 'How long and how large', 'All threads and tools. A percentile is off by at most 1.1 %; counts, sums and maxima are exact. A name unfolds its distribution.',
		table('Percentiles', [
			{ title: 'histogram', key: 'metric', value: (r) => r.metric },
			{ title: 'count', key: 'count', num: true, value: (r) => r.of.count, text: countText },
			...histColumns((r) => (data.metrics[r.metric] || { unit: 'count' }).unit),
			{ title: 'what', wide: true, value: (r) => (data.metrics[r.metric] || {}).help },
		], rows, { name: 'hist', quiet: true, id: (r) => r.metric, drawer: (r) => more.hists[r.metric] ? distribution(r.metric, more.hists[r.metric], r.of) : el('p', {}, 'no distribution') }));
}
