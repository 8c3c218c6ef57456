// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What is to be changed, before all figures: of all agents of the page, the dearest first, as the report has them. */
const FINDINGS_OPEN = 8; /* the others are folded */

/* "5.60 s of time, 200 ms of CPU a minute"; '' when it costs neither. */
function costText(cost) {
	const parts = [cost.wall_s > 0 && `${secondsText(cost.wall_s)} of time`, cost.cpu_s > 0 && `${secondsText(cost.cpu_s)} of CPU`, cost.bytes > 0 && `${bytesText(cost.bytes)} of memory`].filter(Boolean);

	return parts.length ? `${parts.join(', ')} a minute` : '';
}

function findingItem(f, choose) {
	const cost = costText(f.cost_per_minute);
	const part = (title, key, text, raw) => text && el('div', {}, el('dt', {}, title), el('dd', { 'data-k': key, 'data-v': raw === undefined ? undefined : String(raw) }, text));
	const whose = report.agents.length > 1 && el('button', { type: 'button', class: 'open', onclick: () => choose(f.agent) }, name(f.agent_name || '(no name)'));

	return el('li', { class: `finding ${f.severity}`, 'data-finding': f.finding, 'data-agent': f.agent }, el('h3', {}, el('span', { class: `severity ${f.severity}` }, f.severity), ' ', f.title, f.subject && [': ', name(f.subject)]),
		el('dl', {}, part('agent', 'agent', whose, f.agent), part('evidence', 'evidence', name(f.evidence)), part('costs', 'wall_s', cost, f.cost_per_minute.wall_s), part('change', 'change', f.change), part('unless', 'unless', f.unless)));
}

/* Of probes that are on unless turned off: why of what they tell nothing could be judged, of this agent. */
function unjudged(agent) {
	const reasons = new Map();

	for (const u of report.findings_not_judged.filter((u) => u.agent === agent.id && data.probes_default.includes(u.probe))) {
		const key = `${u.probe}: ${u.why}`;

		reasons.set(key, [...(reasons.get(key) || []), u.finding]);
	}
	return reasons.size > 0 && el('div', { class: 'notjudged' }, el('p', { class: 'hint' }, 'Of the agent shown, not judged:'),
		el('ul', { class: 'plain' }, [...reasons].map(([why, which]) => el('li', {}, `${why} (${which.join(', ')})`))));
}

/* As its limit is written: "85 %", "3.20 s". */
function ruleValueText(o, v) {
	if (v === null || v === undefined)
		return '–';
	return o.unit === 's' ? secondsText(v) : o.unit === 'bytes' ? bytesText(v) : /%/.test(o.when) ? percentText(v) : rateText(v);
}

function objectivesSection() {
	const all = report.objectives || [], missed = all.filter((o) => o.verdict === 'missed'), number = (verdict) => all.filter((o) => o.verdict === verdict).length;
	const rows = missed.flatMap((o) => o.misses.map((m) => ({ o, m })));

	if (!all.length)
		return null;
	return section('objectives', 'Objectives', `${missed.length} missed, ${number('met')} met, ${number('no data')} without data.`,
		rows.length > 0 && table('Objectives that were missed', [
			{ title: 'objective', key: 'rule', value: (r) => r.o.rule, node: (r) => [r.o.rule, ' ', el('span', { class: `severity ${r.o.severity}` }, r.o.severity)] },
			{ title: 'missed when', key: 'when', value: (r) => r.o.when, wide: true }, { title: 'agent', key: 'agent', value: (r) => r.m.name, node: (r) => name(r.m.name) },
			{ title: 'of', key: 'subject', value: (r) => r.m.subject, node: (r) => name(r.m.subject) }, column('worst', 'worst', (r) => r.m.worst, (v, r) => ruleValueText(r.o, v)),
			column('since (UTC)', 'since_s', (r) => r.m.since_s, (s) => clockText(dateOf(s), true)), column('for', 'seconds', (r) => r.m.seconds, (s, r) => secondsText(s) + (r.m.ongoing ? ', to the end' : '')),
			column('times', 'times', (r) => r.m.times, countText),
		], rows, { name: 'objectives', quiet: true, id: (r) => `${r.o.rule} ${r.m.agent} ${r.m.subject}` }),
		folded('All objectives', () => table('All objectives', [{ title: 'objective', key: 'rule', value: (o) => o.rule }, { title: 'missed when', key: 'when', value: (o) => o.when, wide: true },
			{ title: 'verdict', key: 'verdict', value: (o) => o.verdict, text: (v, o) => o.why ? `${v}: ${o.why}` : v }, column('worst', 'worst', (o) => o.worst, (v, o) => ruleValueText(o, v)),
			{ title: 'what to do', key: 'help', value: (o) => o.help, wide: true }], all, { name: 'all-objectives', quiet: true, id: (o) => o.rule })));
}

function findingsSection(agent, choose) {
	const items = report.findings.map((f) => findingItem(f, choose)), more = items.slice(FINDINGS_OPEN);
	const dearest = report.findings.length === 1 ? '1 finding' : `${report.findings.length} findings, the dearest first`;

	return section('findings', 'Findings', items.length ? `${dearest}. A cost is an estimate of what the agent would save.` : 'No findings: nothing that was judged costs the agents enough to name.',
		items.length > 0 && el('ol', { class: 'findings' }, items.slice(0, FINDINGS_OPEN)),
		more.length > 0 && el('details', { class: 'fold' }, el('summary', {}, `${more.length} more that cost less`), el('ol', { class: 'findings' }, more)),
		unjudged(agent));
}
