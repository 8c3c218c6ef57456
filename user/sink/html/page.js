// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The page: notices, the agent that was chosen, the theme, printing. */
const main = document.getElementById('main'), chooser = document.getElementById('agent'), themes = document.getElementById('theme');
let shownId;

const agentTitle = (a) => `${a.id}: ${a.name || '(no name)'} (pid ${a.pid})`;

function notices(agent) {
	const lost = report.observer.lost_sum, box = [];
	const add = (text, bad) => box.push(el('p', { class: bad ? 'notice bad' : 'notice', role: 'note' }, text));

	if (lost)
		add(`${countText(lost)} events were lost: counts and sums are that much too low (see the last part).`, true);
	if (report.note)
		add(report.note, true);
	if (data.agents_left_out)
		add(`This page shows the ${report.agents.length} agents that used most CPU time; ${data.agents_left_out} others are left out. stakeout report --agent ID --html shows any one of them.`);
	if (report.observer.reduced_s > 0)
		add(`Detail was reduced for ${secondsText(report.observer.reduced_s)} to keep within the budget (see the last part).`);
	return [box, agent.notes.length > 0 && el('div', { class: 'notice', role: 'note' }, 'Not all of this agent could be observed:', el('ul', { class: 'plain' }, agent.notes.map((n) => el('li', {}, name(n)))))];
}

function show(id) {
	const agent = report.agents.find((a) => a.id === id), more = data.agents.find((a) => a.id === id);

	shownId = id;
	charts = [];
	sections = [];
	hideTip();
	const choose = (other) => { show(other); document.getElementById('title').focus(); };
	const findings = findingsSection(agent, choose), objectives = objectivesSection(), trends = trendsSection(choose), many = report.agents.length > 1 && agentsSection(choose);
	const parts = [ledgerSection(agent, more), latencySection(agent, more), histSection(agent, more), peersSection(agent), toolsSection(agent), memorySection(agent, more), limitsSection(agent), flameSection(agent, more), seriesSection(agent, more), watchingSection()];
	const started = report.start ? `${report.start.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}, ${secondsText(report.duration_s)}` : '';

	main.replaceChildren(...[el('h1', { id: 'title', tabindex: '-1' }, name(agent.name || '(no name)'), el('span', { class: 'meta' }, `  pid ${agent.pid}`)),
		el('p', { class: 'meta' }, name(report.host.name), `, ${started}, recorded in `, name(report.file || '')), agent.container && el('p', { class: 'meta' }, `container ${agent.container.id.slice(0, 12)}`,
			[agent.container.runtime, agent.container.pod && `pod ${agent.container.pod}`].filter(Boolean).map((t) => [', ', name(t)])), el('p', { class: 'cmd' }, name(agent.cmdline)), ...[notices(agent)].flat(3).filter(Boolean),
		el('nav', { class: 'toc', 'aria-label': 'Contents' }, sections.map((s) => el('a', { href: `#${s.id}` }, s.title))), findings, objectives, trends, tiles(agent), ...[many, ...parts].filter(Boolean),
		el('footer', {}, 'Made by stakeout report. This file holds all that it shows, and loads nothing.')].filter(Boolean));
	document.title = `${agent.name || agent.pid}: stakeout report`;
	chooser.value = id;
	charts.forEach((c) => c.render());
}

function setTheme(theme) {
	if (theme)
		document.documentElement.dataset.theme = theme;
	else
		delete document.documentElement.dataset.theme;
	try {
		localStorage.setItem('stakeout-theme', theme);
	} catch (_) {
		/* a browser may keep nothing for a file */
	}
}

function start() {
	let kept = '';

	try {
		kept = localStorage.getItem('stakeout-theme') || '';
	} catch (_) {
		/* as above */
	}
	themes.value = ['light', 'dark'].includes(kept) ? kept : '';
	setTheme(themes.value);
	themes.addEventListener('change', () => setTheme(themes.value));
	if (!report.agents.length) {
		main.replaceChildren(el('h1', {}, 'No agents'), el('p', {}, 'This recording has no agents.'), watchingSection());
		return;
	}
	chooser.append(...report.agents.map((a) => el('option', { value: a.id }, agentTitle(a))));
	document.getElementById('agent-label').hidden = report.agents.length < 2;
	chooser.addEventListener('change', () => show(+chooser.value));
	show(report.agents[0].id);
	let width = innerWidth;

	addEventListener('resize', () => {
		if (innerWidth !== width)
			requestAnimationFrame(() => charts.forEach((c) => c.render()));
		width = innerWidth;
	});
	addEventListener('keydown', (e) => { if (e.key === 'Escape') hideTip(); });
}

start();
