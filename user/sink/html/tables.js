// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What stands in tables: the agents, peers, tools, memory, limits, counters, and the watching itself. */
const value = (of, metric) => (of.counters && of.counters[metric]) ?? (of.gauges && of.gauges[metric]);
const quantile = (of, metric, q) => of.hist[metric] ? of.hist[metric][q] : undefined;
const column = (title, key, get, text, more) => ({ title, key, num: true, value: get, text, ...more });
const facts = (rows) => el('table', { class: 'facts' }, el('tbody', {}, rows.filter(Boolean).map(([title, text, key, raw]) =>
	el('tr', {}, el('th', { scope: 'row', class: 'short' }, title), el('td', { class: 'text', 'data-k': key, 'data-v': raw === undefined ? undefined : String(raw) }, text)))));

function exitText(agent) {
	if (!agent.exit)
		return agent.alive ? 'still running at the end' : 'ended';
	return 'signal' in agent.exit ? `ended by signal ${agent.exit.signal}` : `ended with status ${agent.exit.status}`;
}

function tiles(agent) {
	const lost = report.observer.lost_sum, exchanges = agent.hist.exchange_ns, runs = agent.tools.reduce((sum, t) => sum + t.runs, 0);
	const rows = [
		['observed', secondsText(agent.observed_s), exitText(agent), 'observed_s', agent.observed_s],
		agent.cpu.percent !== undefined && ['CPU', `${agent.cpu.percent.toFixed(1)} %`, `of one CPU: ${secondsText(agent.cpu.user_s)} user, ${secondsText(agent.cpu.system_s)} system`, 'cpu_percent', agent.cpu.percent],
		agent.ledger.critical_sum_s > 0 && [`most time: ${topStates(agent.ledger.critical_s, agent.ledger.critical_sum_s, 1).split(' ')[0]}`, topStates(agent.ledger.critical_s, agent.ledger.critical_sum_s, 1).replace(/^\S+ /, ''), topStates(agent.ledger.critical_s, agent.ledger.critical_sum_s, 4).split(', ').slice(1).join(', ')],
		exchanges && ['exchanges', countText(exchanges.count), `p50 ${nsText(exchanges.p50)}, p99 ${nsText(exchanges.p99)}`, 'exchanges', exchanges.count],
		runs > 0 && ['tool runs', countText(runs), agent.hist.tool_ns && `p50 ${nsText(agent.hist.tool_ns.p50)}, p99 ${nsText(agent.hist.tool_ns.p99)}`, 'tool_runs', runs],
		agent.memory && ['memory', bytesText(agent.memory.rss_peak_bytes), 'resident at the peak', 'rss_peak_bytes', agent.memory.rss_peak_bytes],
		['lost', countText(lost), lost ? 'events missed: figures are too low' : 'nothing was missed', 'lost', lost],
	];

	return el('dl', { class: 'tiles' }, rows.filter(Boolean).map(([title, figure, note, key, raw]) =>
		el('div', { class: 'tile', 'data-tile': key }, el('dt', {}, title), el('dd', { 'data-v': raw === undefined ? undefined : String(raw), class: key === 'lost' && raw && 'bad-figure' }, figure, note && el('span', { class: 'note' }, note)))));
}

function agentsSection(choose) {
	return section('agents', 'Agents', 'A name shows that agent.', table('All agents', [
		{ title: 'agent', key: 'name', value: (a) => a.name, node: (a) => el('button', { type: 'button', class: 'open', onclick: () => choose(a.id) }, name(a.name || '(no name)')) },
		column('id', 'id', (a) => a.id), column('pid', 'pid', (a) => a.pid), column('observed', 'observed_s', (a) => a.observed_s, secondsText),
		column('CPU %', 'cpu', (a) => a.cpu.percent, (v) => v.toFixed(1)),
		{ title: 'where its time went', wide: true, node: (a) => ledgerBar(a.ledger.critical_s, a.ledger.critical_sum_s || 1, true) },
		column('exchanges', 'exchanges', (a) => value(a, 'exchanges'), countText), column('p50', 'p50', (a) => quantile(a, 'exchange_ns', 'p50'), nsText), column('p99', 'p99', (a) => quantile(a, 'exchange_ns', 'p99'), nsText),
		column('memory', 'rss', (a) => value(a, 'rss_peak_bytes'), bytesText),
	], report.agents, { name: 'agents', quiet: true, id: (a) => a.id }));
}

/* Its main figures: as a client of others, or as their server. */
const sideOf = (p) => p.side === 'server' ? { time: 'serve_ns', pickup: 'serve_pickup_ns' } : { time: 'exchange_ns', first: 'ttfb_ns', pickup: 'pickup_ns' };

function peersSection(agent) {
	if (!agent.peers.length)
		return null;
	const q = (metric, part) => (p) => sideOf(p)[metric] ? quantile(p, sideOf(p)[metric], part) : undefined;
	const classes = Object.entries(agent.concurrency).map(([key, c]) => ({ key, ...c }));

	return section('peers', 'Peers', 'Exchanges from the first byte sent to the last received; of those served, from the request\'s arrival to the last byte of the answer. A name unfolds all that was measured of it.',
		table('Peers', [
			{ title: 'peer', key: 'peer', value: (p) => p.name || p.peer, node: (p) => [name(p.name || p.peer), p.summed ? ` (${countText(p.summed)} more)` : ''] },
			{ title: 'class', key: 'class', value: (p) => p.class, node: (p) => [el('span', { class: 'tag' }, p.class), p.side === 'server' ? ' served' : '', p.multiplexed ? ' multiplexed' : ''] },
			column('count', 'exchanges', (p) => p.exchanges, countText), column('/s', 'rate', (p) => p.exchanges_per_s, rateText),
			column('p50', 'p50', q('time', 'p50'), nsText), column('p95', 'p95', q('time', 'p95'), nsText), column('p99', 'p99', q('time', 'p99'), nsText),
			column('ttfb p50', 'ttfb_p50', q('first', 'p50'), nsText, { help: 'to the first byte of the answer' }), column('pickup p99', 'pickup_p99', q('pickup', 'p99'), nsText, { help: 'from arrival to when the agent read it' }),
			column('errors', 'errors', (p) => p.errors, countText), column('reuse', 'reuse', (p) => p.exchanges_per_connection, rateText, { help: 'exchanges a connection' }),
			column('sent', 'sent', (p) => value(p, 'sent_bytes'), bytesText), column('received', 'received', (p) => value(p, 'received_bytes'), bytesText),
		], agent.peers, { name: 'peers', quiet: true, id: (p) => `${p.side} ${p.peer} ${p.name}`, drawer: (p) => [el('p', { class: 'hint' }, 'address ', name(p.peer)), everything(p)] }),
		classes.length > 0 && table('Concurrency: exchanges outstanding while there were any', [
			{ title: 'class', key: 'class', value: (c) => c.key }, column('mean', 'mean', (c) => c.mean, (v) => v.toFixed(2)), column('max', 'max', (c) => c.max, countText), column('busy', 'busy_s', (c) => c.busy_s, secondsText),
			{ title: 'which is', value: (c) => c.max === 1 ? 'serial: one at a time' : c.mean > 1 ? 'overlapping' : '' },
		], classes, { name: 'concurrency', id: (c) => c.key }));
}

/* Of a peer or a tool: all histograms and counters that it has. */
function everything(of) {
	const hists = Object.entries(of.hist).map(([metric, h]) => ({ metric, of: h }));
	const counters = Object.entries(of.counters).filter(([, v]) => v).map(([metric, v]) => ({ metric, v }));

	return el('div', {}, hists.length > 0 && table('Histograms', [{ title: 'histogram', key: 'metric', value: (r) => r.metric }, column('count', 'count', (r) => r.of.count, countText), ...histColumns((r) => data.metrics[r.metric].unit)], hists),
		counters.length > 0 && table('Counters', [{ title: 'counter', key: 'metric', value: (r) => r.metric }, column('value', 'value', (r) => r.v, (v, r) => unitText(v, data.metrics[r.metric].unit)), { title: 'what', wide: true, value: (r) => data.metrics[r.metric].help }], counters));
}

function toolsSection(agent) {
	if (!agent.tools.length)
		return null;
	return section('tools', 'Tools', 'Programs that the agent ran, by name. A name unfolds all that was measured of it.', table('Tools', [
		{ title: 'tool', key: 'name', value: (t) => t.name, node: (t) => name(t.name) },
		column('runs', 'runs', (t) => t.runs, (v, t) => countText(v) + (t.live ? ` (${countText(t.live)} live)` : '')), column('failed', 'failed', (t) => t.failed, countText),
		column('CPU', 'cpu_s', (t) => t.cpu.user_s + t.cpu.system_s, secondsText),
		column('run p50', 'p50', (t) => quantile(t, 'tool_ns', 'p50'), nsText), column('run p99', 'p99', (t) => quantile(t, 'tool_ns', 'p99'), nsText), column('launch p99', 'launch_p99', (t) => quantile(t, 'launch_ns', 'p99'), nsText),
		{ title: 'where its time went', wide: true, node: (t) => t.ledger.main_sum_s > 0 ? [topStates(t.ledger.main_s, t.ledger.main_sum_s, 2), ledgerBar(t.ledger.main_s, t.ledger.main_sum_s, true)] : '' },
	], agent.tools, { name: 'tools', quiet: true, id: (t) => t.name, drawer: everything }));
}

/* ---- memory ---- */

function outlookText(o) {
	if (o.verdict === 'insufficient data')
		return 'outlook: too short a recording to tell';
	const slope = `${o.bytes_per_s < 0 ? '-' : '+'}${bytesText(Math.abs(o.bytes_per_s))}/s`;
	const limit = o.to_limit_s !== null ? `; at that rate the limit is reached in ${secondsText(o.to_limit_s)}` : '';

	return `outlook: ${o.verdict}${o.verdict === 'steady' ? '' : ` (${slope})`}${limit}`;
}

function memorySection(agent, more) {
	const line = more.timeline, v = line.values, len = line.observed_s.length;

	if (!agent.memory || !v.rss_bytes)
		return null;
	const peak = v.rss_peak_bytes || v.rss_bytes, highest = Math.max(...peak, ...v.rss_bytes), limit = Math.max(...(v.memory_limit_bytes || [0])), near = limit > 0 && limit < 4 * highest;
	const there = (i) => line.observed_s[i] !== null;

	function draw({ x, width, height }) {
		const y = d3.scaleLinear().domain([0, (near ? Math.max(highest, limit) : highest) * 1.06]).range([height, margin.top]);
		const step = 2 ** Math.max(0, Math.round(Math.log2(y.domain()[1] / 4))), rss = steps(line.first, len, (i) => there(i) ? v.rss_bytes[i] : null);

		return [valueAxis(y, d3.range(0, y.domain()[1], step), bytesText, width),
			svg('path', { class: 'area', d: stepArea(x, y, rss), fill: 'var(--accent)' }), svg('path', { class: 'line', stroke: 'var(--accent)', d: stepLine(x, y, rss) }),
			svg('path', { class: 'line', stroke: 'var(--p99)', d: stepLine(x, y, steps(line.first, len, (i) => there(i) ? peak[i] : null)) }),
			near ? svg('path', { class: 'limit', d: stepLine(x, y, steps(line.first, len, (i) => v.memory_limit_bytes[i] || null)) }) : []];
	}

	function describe(bin) {
		const i = bin - line.first, has = i >= 0 && i < len && there(i), rows = [];

		if (has) {
			rows.push(['var(--accent)', 'resident', bytesText(v.rss_bytes[i])], ['var(--p99)', 'peak', bytesText(peak[i])]);
			if (v.memory_limit_bytes && v.memory_limit_bytes[i])
				rows.push(['var(--bad)', 'limit', bytesText(v.memory_limit_bytes[i])], [null, 'left', bytesText((v.memory_left_bytes || [])[i])]);
		}
		return { title: binTitle(bin), rows: has ? rows : [[null, 'the agent was not there', '']] };
	}

	return section('memory', 'Memory', `${limit ? `Limit ${bytesText(limit)}${near ? ' (dashed)' : ', far above what is used'}; ` : ''}${outlookText(agent.outlook)}.`,
		el('p', { class: 'hint' }, el('span', { class: 'key' }, el('i', { style: { background: 'var(--accent)' } }), 'resident at the end of each bin'), el('span', { class: 'key' }, el('i', { style: { background: 'var(--p99)' } }), 'highest within it')),
		timeChart({ id: 'memory', title: 'Resident memory', height: 200, draw, describe, label: `Resident memory over time, ${bytesText(agent.memory.rss_peak_bytes)} at the peak, ${bytesText(agent.memory.rss_bytes)} at the end`,
			table: () => table('Memory over time', [{ title: 'from (UTC)', value: (i) => bins.start_s[line.first + i], text: (s) => clockText(dateOf(s), true) }, column('resident', 'rss', (i) => v.rss_bytes[i], bytesText), column('peak', 'peak', (i) => peak[i], bytesText),
				column('limit', 'limit', (i) => (v.memory_limit_bytes || [])[i], bytesText)], line.observed_s.map((_, i) => i).filter(there), { name: 'memory-bins' }) }),
		facts([['at the peak', bytesText(agent.memory.rss_peak_bytes), 'rss_peak_bytes', agent.memory.rss_peak_bytes], ['at the end', bytesText(agent.memory.rss_bytes), 'rss_bytes', agent.memory.rss_bytes],
			['mapped', `${bytesText(agent.memory.mapped_bytes)} in ${countText(agent.hist.map_bytes ? agent.hist.map_bytes.count : 0)} calls`, 'mapped_bytes', agent.memory.mapped_bytes],
			['page faults', `${countText(agent.memory.faults_minor)} minor, ${countText(agent.memory.faults_major)} major`, 'faults_minor', agent.memory.faults_minor],
			agent.heap && ['heap', `${rateText(agent.heap.allocations.per_s)} allocations/s, ${bytesText(agent.heap.bytes.per_s)}/s (${agent.heap.mode})`, 'heap_allocations_per_s', agent.heap.allocations.per_s]]));
}

/* ---- the rest of the agent ---- */

function limitsSection(agent) {
	const l = agent.limits, gc = Object.entries(agent.gc).map(([key, g]) => ({ key, ...g })), all = agent.hist.gc_pause_ns ? { young: 'gc_pause_young_ns', middle: 'gc_pause_middle_ns', full: 'gc_pause_full_ns', all: 'gc_pause_ns' } : {};
	const cpu = el('div', {}, el('h3', {}, 'Why it waited for a CPU'), facts([
		['waited', `${secondsText(l.runnable_s)} of all threads`, 'runnable_s', l.runnable_s],
		['quota', l.throttles ? `reached ${countText(l.throttles)} times, ${secondsText(l.throttled_s)} kept off the CPUs` : 'not reached', 'throttles', l.throttles],
		['pressure', agent.observed_s > 0 ? `some task of its cgroup waited for a CPU during ${percentText(l.pressure_cpu_s / agent.observed_s)} of the time` : '–', 'pressure_cpu_s', l.pressure_cpu_s],
		['stolen', `${secondsText(l.steal_s)} by the hypervisor, of all CPUs`, 'steal_s', l.steal_s]]),
	l.rivals.length > 0 && table('Who ran instead', [{ title: 'command', key: 'name', value: (r) => r.name, node: (r) => name(r.name) }, column('ran', 'cpu_s', (r) => r.cpu_s, secondsText)], l.rivals, { name: 'rivals' }));
	const pauses = gc.length > 0 && el('div', {}, el('h3', {}, 'Garbage collection'), table('Pauses', [
		{ title: 'generation', key: 'generation', value: (g) => g.key }, column('count', 'count', (g) => g.count, countText),
		column('p50', 'p50', (g) => quantile(agent, all[g.key], 'p50'), nsText), column('p99', 'p99', (g) => quantile(agent, all[g.key], 'p99'), nsText), column('total', 'total_s', (g) => g.total_s, secondsText), column('of the time', 'share', (g) => g.share, percentText),
	], gc, { name: 'gc' }));

	return section('limits', gc.length ? 'CPU limits and garbage collection' : 'CPU limits', null, el('div', { class: 'cols' }, cpu, pauses));
}

/* Any counter or gauge over time: counters a second, times as a share of the bin's. */
function seriesSection(agent, more) {
	const line = more.timeline, len = line.observed_s.length, choices = Object.keys(line.values), box = el('div');
	let metric = choices.includes('cpu_user_ns') ? 'cpu_user_ns' : choices[0], chart;

	if (!choices.length)
		return null;
	const info = () => data.metrics[metric], isRate = () => info().type === 'counter';
	const at = (i) => line.observed_s[i] === null ? null : line.values[metric][i] / (isRate() ? bins.covered_s[line.first + i] * (info().unit === 'ns' ? 1e9 : 1) : 1);
	const text = (v) => !isRate() ? unitText(v, info().unit) : info().unit === 'ns' ? percentText(v) : info().unit === 'bytes' ? `${bytesText(v)}/s` : `${rateText(v)}/s`;

	function draw({ x, width, height }) {
		const points = steps(line.first, len, at), y = d3.scaleLinear().domain([0, d3.max(points, (p) => p.v) || 1]).nice(4).range([height, margin.top]);

		return [valueAxis(y, y.ticks(4), text, width), svg('path', { class: 'area', d: stepArea(x, y, points), fill: 'var(--accent)' }), svg('path', { class: 'line', stroke: 'var(--accent)', d: stepLine(x, y, points) })];
	}

	function describe(bin) {
		const i = bin - line.first, has = i >= 0 && i < len && line.observed_s[i] !== null;

		return { title: binTitle(bin), rows: has ? [['var(--accent)', metric, text(at(i))], ...(isRate() ? [[null, 'in the bin', unitText(line.values[metric][i], info().unit)]] : [])] : [[null, 'the agent was not there', '']] };
	}

	function show() {
		charts = charts.filter((c) => c !== chart);
		const figure = timeChart({ id: 'series', title: metric, hint: info().help, height: 180, draw, describe, table: () => table(`${metric} over time`, [
			{ title: 'from (UTC)', value: (i) => bins.start_s[line.first + i], text: (s) => clockText(dateOf(s), true) }, column(isRate() ? 'sum' : 'value', 'value', (i) => line.values[metric][i], (v) => unitText(v, info().unit))],
		line.observed_s.map((_, i) => i).filter((i) => line.observed_s[i] !== null), { name: 'series-bins' }) });

		chart = charts[charts.length - 1];
		box.replaceChildren(figure);
		if (box.isConnected)
			chart.render();
	}

	show();
	return section('series', 'Any figure over time', 'Counters a second; times as a share of the time (100 %: one CPU, or one thread).', el('label', { class: 'noprint' }, 'Figure ', el('select', { id: 'series-metric', onchange: (e) => { metric = e.target.value; show(); } },
		choices.map((m) => el('option', { value: m, selected: m === metric }, m)))), box,
	folded('All counters and gauges', () => table('Counters and gauges', [{ title: 'metric', key: 'metric', value: (r) => r.metric }, column('value', 'value', (r) => r.v, (v, r) => unitText(v, data.metrics[r.metric].unit)), { title: 'kind', value: (r) => data.metrics[r.metric].type },
		{ title: 'what', wide: true, value: (r) => data.metrics[r.metric].help }], Object.entries({ ...agent.counters, ...agent.gauges }).map(([m, v]) => ({ metric: m, v })), { name: 'counters', id: (r) => r.metric })));
}

/* ---- the watching ---- */

/* Of these metrics, those that any agent has. */
const present = (metrics) => metrics.filter((m) => report.agents.some((a) => a.hist[m] || value(a, m))).join(', ') || 'nothing';

function watchingSection() {
	const o = report.observer, lost = Object.entries(o.lost).filter(([, n]) => n);

	return section('watching', 'What the watching cost, and what was missed', null, el('div', { class: 'cols' }, el('div', {}, facts([
		['stakeout\'s CPU time', `${secondsText(o.cpu_s)}${report.duration_s > 0 ? `, ${(100 * o.cpu_s / report.duration_s).toFixed(1)} % of one CPU` : ''}`, 'cpu_s', o.cpu_s],
		['in the kernel', o.bpf_s === null ? 'not measured (--bpf-stats)' : `${secondsText(o.bpf_s)} of its BPF programs`, 'bpf_s', o.bpf_s],
		['memory', bytesText(o.rss_bytes), 'rss_bytes', o.rss_bytes], ['records', countText(o.records), 'records', o.records],
		['lost', lost.length ? lost.map(([reason, n]) => `${reason}: ${countText(n)}`).join(', ') : 'nothing', 'lost_sum', o.lost_sum],
		o.budget_s !== undefined && ['budget', `${secondsText(Object.values(o.cost_s).reduce((a, b) => a + b, 0))} of ${secondsText(o.budget_s)} used`, 'budget_s', o.budget_s],
		o.reduced_s > 0 && ['detail', `reduced for ${secondsText(o.reduced_s)} (least: ${o.detail}); estimated: ${present(o.estimated)}; partial: ${present(o.partial)}`, 'reduced_s', o.reduced_s],
		['recording', `${countText(report.intervals)} interval${report.intervals === 1 ? '' : 's'} of ${secondsText(report.interval_s)}, ${secondsText(report.duration_s)}${report.complete ? '' : '; not complete'}`, 'intervals', report.intervals],
		['in the charts', `${countText(binCount)} bins of ${bins.intervals_per_bin === 1 ? 'an interval' : `${countText(bins.intervals_per_bin)} intervals`} each`, 'bins', binCount],
		['host', [name(report.host.name), `, kernel ${report.host.kernel}, ${report.host.arch}, ${report.host.cpus} CPUs`]]])),
	table('Probes', [{ title: 'probe', key: 'probe', value: (p) => p.name }, { title: 'state', key: 'state', value: (p) => p.state }, { title: 'what it tells', wide: true, value: (p) => p.why || data.probes[p.name] }], report.probes, { name: 'probes' })));
}
