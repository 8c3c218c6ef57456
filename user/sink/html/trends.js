// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What isn't steady over the recording, of all agents of the page, in the report's order. */
const TRENDS_OPEN = 12; /* the others are folded */
const ODD_SHOWN = 3;

function measureText(t, v) {
	const { group } = data.measures[t.measure];

	return v === null || v === undefined ? '–' : group === 'time' ? secondsText(v) : group === 'memory' ? bytesText(v) : `${+(v * 100).toPrecision(3)} %`;
}

/* By the hour, minute or second, as fits the recording. */
function slopeText(t) {
	const [seconds, unit] = t.span_s >= 3600 ? [3600, 'an hour'] : t.span_s >= 60 ? [60, 'a minute'] : [1, 'a second'];
	const sides = [t.slope_low_per_s, t.slope_high_per_s].map(Math.abs).sort((a, b) => a - b).map((v) => measureText(t, v * seconds));

	return `${t.slope_per_s < 0 ? '−' : '+'}${measureText(t, Math.abs(t.slope_per_s) * seconds)} ${unit} (${sides.join(' to ')})`;
}

const moment = (at) => clockText(dateOf(at), true);

function missText(t) {
	const { in_s, in_low_s, in_high_s } = t.miss;

	return `misses ${t.miss.rule} in ${secondsText(in_s)} (${in_high_s === null ? `${secondsText(in_low_s)} at the earliest` : `${secondsText(in_low_s)} to ${secondsText(in_high_s)}`})`;
}

/* What there is to tell, a line each, with the raw figure beside it. */
function howNode(t) {
	const line = (key, raw, text) => el('li', { 'data-t': key, 'data-v': String(raw) }, text), shown = t.odd.slice(0, ODD_SHOWN), more = t.odd_count - shown.length;

	return el('ul', { class: 'lines' }, t.changes.map((c) => line('change', c.at_s, `at ${moment(c.at_s)} from ${measureText(t, c.before)} to ${measureText(t, c.after)}`)),
		t.verdict !== 'steady' && !t.changes.length && line('slope', t.slope_per_s, slopeText(t)), t.miss && line('miss', t.miss.in_s, missText(t)),
		shown.map((o) => line('odd', o.at_s, `odd: ${measureText(t, o.value)} at ${moment(o.at_s)}, where ${measureText(t, o.expected)} was usual`)),
		more > 0 && line('more', more, `and ${countText(more)} more`));
}

function verdictNode(t) {
	const text = t.verdict === 'steady' ? (t.changes.length ? 'changed' : 'odd') : t.verdict;

	return el('span', { class: `severity ${t.verdict === 'degrading' ? 'warning' : 'info'}` }, text);
}

function trendsTable(rows, caption, tag, choose) {
	return table(caption, [
		{ title: 'figure', key: 'measure', value: (t) => `${t.subject} ${t.measure}`.trim(), node: (t) => [t.subject && [name(t.subject), ' '], el('span', { title: data.measures[t.measure].help }, t.measure)] },
		...report.agents.length > 1 ? [{ title: 'agent', key: 'agent', value: (t) => t.agent, node: (t) => el('button', { type: 'button', class: 'open', onclick: () => choose(t.agent) }, name(t.agent_name || '(no name)')) }] : [],
		{ title: 'verdict', key: 'verdict', value: (t) => t.verdict, node: verdictNode },
		column('from', 'first', (t) => t.first, (v, t) => measureText(t, v)), column('to', 'last', (t) => t.last, (v, t) => measureText(t, v)),
		{ title: 'how (UTC)', key: 'how', node: howNode, wide: true },
	], rows, { name: tag, quiet: true, id: (t) => `${t.agent} ${t.subject} ${t.measure}` });
}

function trendsSection(choose) {
	const all = report.trends || [], followed = report.trends_followed || {}, more = all.slice(TRENDS_OPEN), judged = (followed.steady || 0) + (followed.improving || 0) + (followed.degrading || 0);
	const counts = `${followed.degrading} of ${judged} figures degrading, ${followed.improving} improving, ${followed.steady} steady; of ${followed['insufficient data']} there are too few points (20 are needed).`;

	if (!report.trends)
		return null;
	return section('trends', 'Trends', judged ? counts : 'Too short to tell: a verdict needs 20 points.',
		all.length > 0 && trendsTable(all.slice(0, TRENDS_OPEN), 'What is not steady', 'trends', choose),
		more.length > 0 && folded(`${more.length} more that changed less`, () => trendsTable(more, 'What else is not steady', 'more-trends', choose)));
}
