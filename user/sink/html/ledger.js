// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Where the time went: as shares, as a table, and over time. */
const ledgers = { critical: 'whole agent', main: 'main thread', threads: 'all threads' };
const ledgerHelp = {
	critical: 'The agent as a whole: it ran if any thread ran, could run if any could, and else waited for its longest outstanding request, a disk, or what its main thread waited for.',
	main: 'The first thread of the agent\'s first process.',
	threads: 'All threads of the agent and its tools, in threads: 3 means three threads at a time.',
};
const stateColor = (state) => `var(--s-${state.replace('.', '-')})`;

/* A bar of shares, largest part of the page's first look. */
function ledgerBar(seconds, sum, small) {
	const parts = data.states.filter((s) => seconds[s.name] > 0);
	const label = parts.map((s) => `${s.name} ${percentText(seconds[s.name] / sum)}`).join(', ');

	return el('div', { class: small ? 'bar small' : 'bar', role: 'img', 'aria-label': label || 'nothing' }, parts.map((s) => el('i', {
		title: `${s.name}: ${secondsText(seconds[s.name])}, ${percentText(seconds[s.name] / sum)}`, style: { flex: `${seconds[s.name] / sum} 0 0`, background: stateColor(s.name) } })));
}

function topStates(seconds, sum, n) {
	return data.states.filter((s) => seconds[s.name] > 0).sort((a, b) => seconds[b.name] - seconds[a.name]).slice(0, n)
		.map((s) => `${s.name} ${percentText(seconds[s.name] / sum)}`).join(', ');
}

function ledgerTable(ledger) {
	const rows = data.states.filter((s) => Object.keys(ledgers).some((l) => ledger[`${l}_s`][s.name] > 0));
	const part = (l) => [
		{ title: ledgers[l], key: `${l}_s`, num: true, value: (s) => ledger[`${l}_s`][s.name], text: secondsText },
		{ title: '%', key: `${l}_share`, num: true, value: (s) => ledger[`${l}_share`][s.name], text: (v) => percentText(v).replace(' %', '') },
	];

	return table('Time by state', [
		{ title: 'state', key: 'state', value: (s) => s.name, node: (s) => [swatch(stateColor(s.name)), ' ', s.name] },
		...Object.keys(ledgers).flatMap(part),
		{ title: 'the time goes to', wide: true, value: (s) => s.help },
	], rows, { name: 'ledger', id: (s) => s.name });
}

function ledgerSection(agent, more) {
	const line = more.timeline, len = line.observed_s.length, hidden = new Set();
	const box = el('div'), holder = el('div');
	let which = 'critical', chart;

	const shown = () => data.states.filter((s) => line.ledger[which][s.name] && !hidden.has(s.name));
	/* Of the bin's time: below 1 where the agent came later, ended, or intervals are missing. In threads: how many at a time. */
	const share = (state, i) => line.ledger[which][state][i] / 1e9 / bins.covered_s[line.first + i];

	function draw({ x, width, height }) {
		const states = shown(), points = steps(line.first, len, (i) => i).map((p) => ({ s: p.s, ...Object.fromEntries(states.map((t) => [t.name, p.v === null ? 0 : share(t.name, p.v)])) }));
		const stacked = d3.stack().keys(states.map((s) => s.name))(points);
		const most = which === 'threads' || hidden.size ? d3.max(stacked.length ? stacked[stacked.length - 1] : [], (p) => p[1]) || 1 : 1;
		const y = d3.scaleLinear().domain([0, most]).range([height, margin.top]);
		const area = d3.area().x((p) => x(p.data.s)).y0((p) => y(p[0])).y1((p) => y(p[1]));

		return [valueAxis(y, y.ticks(4), which === 'threads' ? (v) => String(+v.toFixed(2)) : (v) => `${+(v * 100).toFixed(1)} %`, width),
			stacked.map((layer) => svg('path', { d: area(layer), fill: stateColor(layer.key), 'data-state': layer.key }))];
	}

	function describe(bin) {
		const i = bin - line.first, there = i >= 0 && i < len && line.observed_s[i] !== null;
		const states = there ? shown().filter((s) => line.ledger[which][s.name][i]).sort((a, b) => line.ledger[which][b.name][i] - line.ledger[which][a.name][i]) : [];
		const sum = there ? total(Object.values(line.ledger[which]).map((v) => v[i])) : 0;

		return { title: binTitle(bin), rows: there ? states.map((s) => [stateColor(s.name), s.name,
			`${nsText(line.ledger[which][s.name][i])}, ${percentText(line.ledger[which][s.name][i] / sum)}`]) : [[null, 'the agent was not there', '']] };
	}

	function binsTable() {
		const states = data.states.filter((s) => line.ledger[which][s.name]), rows = line.observed_s.map((_, i) => i);

		return table(`Seconds by state over time, ${ledgers[which]}`, [
			{ title: 'from (UTC)', value: (i) => bins.start_s[line.first + i], text: (v) => clockText(dateOf(v), true) },
			...states.map((s) => ({ title: s.name, key: s.name, num: true, value: (i) => line.ledger[which][s.name][i] / 1e9, text: (v) => v.toFixed(3) })),
		], rows, { name: 'ledger-bins' });
	}

	function show() {
		const seconds = agent.ledger[`${which}_s`], sum = agent.ledger[`${which}_sum_s`];

		charts = charts.filter((c) => c !== chart);
		const figure = timeChart({ id: 'ledger', title: `Over time: ${ledgers[which]}`, label: `Ledger over time, ${ledgers[which]}: ${topStates(seconds, sum, 4)}`, height: 260, draw, describe, table: binsTable });

		chart = charts[charts.length - 1];
		box.replaceChildren(el('p', { class: 'hint' }, ledgerHelp[which]), ledgerBar(seconds, sum),
			el('ul', { class: 'legend', 'aria-label': 'States in the chart' }, data.states.filter((s) => line.ledger[which][s.name] || seconds[s.name] > 0).map((s) => {
				const button = el('button', { type: 'button', 'aria-pressed': String(!hidden.has(s.name)), title: s.help, onclick: () => {
					if (!hidden.delete(s.name))
						hidden.add(s.name);
					button.setAttribute('aria-pressed', String(!hidden.has(s.name)));
					chart.render();
				} }, swatch(stateColor(s.name)), s.name);

				return el('li', {}, button);
			})), figure);
		if (box.isConnected)
			chart.render();
	}

	const choice = el('div', { class: 'seg noprint', role: 'radiogroup', 'aria-label': 'Whose time' }, Object.entries(ledgers).map(([key, title]) => el('label', {}, el('input', {
		type: 'radio', name: 'ledger', value: key, checked: key === which, onchange: () => { which = key; show(); } }), title)));

	show();
	holder.append(choice, box, ledgerTable(agent.ledger));
	return section('time', 'Where the time went', 'The states add up to the time observed.', holder);
}
