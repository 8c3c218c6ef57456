// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Stacks as a flame graph, the outermost function on top: width is time (or bytes). */
const ROW = 19;

/* Nodes of a flame's arrays: {name, where, kind, value, x (from 0 to 1), width, depth, parent, children}. */
function flameTree(flame, frames) {
	const root = { name: 'all', where: '', kind: 'process', value: 0, x: 0, width: 1, depth: 0, parent: null, children: [], used: 0 };
	const open = [root];

	root.value = flame.value.reduce((sum, v, i) => flame.depth[i] ? sum : sum + v, 0);
	flame.depth.forEach((depth, i) => {
		const parent = open[depth], [functionName, where, kind] = frames[flame.frame[i]], node = { name: functionName, where, kind, value: flame.value[i], depth: depth + 1, parent, children: [], used: 0 };

		node.x = parent.x + parent.used;
		node.width = node.value / root.value;
		parent.used += node.width;
		parent.children.push(node);
		open[depth + 1] = node;
	});
	return root;
}

function flameGraph(root, unit, sum) {
	const surface = svg('svg', { class: 'flame', tabindex: 0, role: 'application', 'aria-label': 'Flame graph: arrow keys move, Enter zooms, Escape zooms out. The table below says the same.' });
	const path = el('p', { class: 'path', 'aria-live': 'polite' }), matched = el('span', { class: 'hint' });
	const search = el('input', { type: 'search', placeholder: 'find a function', 'aria-label': 'Find a function', oninput: () => render() });
	const reset = el('button', { type: 'button', onclick: () => zoom(root) }, 'Zoom out');
	let top = root, chosen = root;

	const within = (n) => n.x + n.width > top.x + 1e-12 && n.x < top.x + top.width - 1e-12;
	const text = (n) => `${n.name}${n.where ? ` (${n.where})` : ''}: ${unitText(n.value, unit)}, ${percentText(n.value / sum)}`;

	function zoom(node) {
		top = chosen = node;
		render();
	}

	function choose(node) {
		if (!node)
			return;
		chosen = node;
		if (!within(node))
			top = node;
		render();
	}

	function render() {
		const width = Math.max(220, surface.clientWidth || 800), wanted = search.value.toLowerCase(), x = (v) => Math.max(0, (v - top.x) / top.width * width);
		const hit = (n) => wanted && `${n.name} ${n.where}`.toLowerCase().includes(wanted);
		const groups = [];
		let deepest = 0, hits = 0;

		(function walk(n, counted) {
			const left = x(n.x), right = Math.min(width, (n.x + n.width - top.x) / top.width * width), found = hit(n);

			if (found && !counted)
				hits += n.value;
			if (within(n) && right - left >= 0.4) {
				const room = Math.floor((right - left - 6) / 6.3), g = svg('g', { class: `${n === chosen ? 'chosen ' : ''}${wanted && !found ? 'dim' : ''}`, 'data-name': n.name, 'data-v': n.value },
					svg('rect', { class: `f-${n.kind}`, x: left, y: n.depth * ROW, width: right - left, height: ROW - 1, rx: 2 }),
					room > 2 && svg('text', { x: left + 4, y: n.depth * ROW + 13 }, n.name.length > room ? `${n.name.slice(0, room - 1)}…` : n.name));

				g.addEventListener('click', () => zoom(n));
				g.addEventListener('pointermove', (e) => showTip({ title: n.name, rows: [[null, n.where || n.kind, ''], [null, unitText(n.value, unit), percentText(n.value / sum)]] }, e.clientX, e.clientY));
				groups.push(g);
				deepest = Math.max(deepest, n.depth);
			}
			n.children.forEach((c) => walk(c, counted || found));
		})(root, false);
		surface.setAttribute('viewBox', `0 0 ${width} ${(deepest + 1) * ROW}`);
		surface.setAttribute('height', (deepest + 1) * ROW);
		surface.replaceChildren(...groups);
		path.textContent = chosen === root ? `all: ${unitText(sum, unit)}` : text(chosen);
		matched.textContent = wanted ? `${percentText(hits / sum)} in stacks with it` : '';
		reset.disabled = top === root;
	}

	surface.addEventListener('pointerleave', hideTip);
	surface.addEventListener('keydown', (event) => {
		const siblings = chosen.parent ? chosen.parent.children : [chosen], i = siblings.indexOf(chosen);
		const to = { ArrowUp: chosen.parent, ArrowDown: chosen.children[0], ArrowLeft: siblings[i - 1], ArrowRight: siblings[i + 1] };

		if (event.key in to)
			choose(to[event.key]);
		else if (event.key === 'Enter')
			zoom(chosen);
		else if (event.key === 'Escape')
			zoom(root);
		else
			return;
		event.preventDefault();
	});
	charts.push({ render, mark() {} });
	return el('div', {}, el('div', { class: 'row noprint' }, search, matched, reset), path, surface);
}

function flameSection(agent, more) {
	const kinds = Object.keys(agent.profiles), box = el('div');
	let chart;

	if (!kinds.length)
		return null;

	function show(kind) {
		const profile = agent.profiles[kind], flame = more.flames[kind], before = charts.length;

		charts = charts.filter((c) => c !== chart);
		const graph = flame && flame.value.length ? flameGraph(flameTree(flame, more.flames.frames), profile.unit, profile.sum) : el('p', {}, 'nothing to draw');

		chart = charts[charts.length - 1];
		const there = new Set(flame ? flame.frame.map((f) => more.flames.frames[f][2]) : []);

		box.replaceChildren(el('p', { class: 'hint' }, [...there].map((k) => el('span', { class: 'key' }, swatch(`var(--f-${k})`), k))), el('p', { class: 'hint' }, `${data.samples[kind].help}; ${unitText(profile.sum, profile.unit)} in ${countText(profile.stacks_len)} stacks`), graph,
			table('Functions', [{ title: 'function', key: 'name', value: (f) => f.name, node: (f) => name(f.name) },
				column('self', 'self', (f) => f.self, (v) => unitText(v, profile.unit)), column('%', 'self_share', (f) => f.self / profile.sum, (v) => percentText(v).replace(' %', '')), column('total', 'total', (f) => f.total, (v) => unitText(v, profile.unit)),
				{ title: 'where', wide: true, value: (f) => f.file ? `${f.file}${f.line ? ':' + f.line : ''}` : f.module || f.kind }], profile.functions.slice(0, 30), { name: 'functions' }));
		if (box.isConnected && charts.length !== before - 1)
			charts.forEach((c) => c === chart && c.render());
	}

	show(kinds[0]);
	return section('stacks', 'Which code it was', null, el('div', { class: 'seg noprint', role: 'radiogroup', 'aria-label': 'Stacks of' }, kinds.map((k) => el('label', {}, el('input', { type: 'radio', name: 'stacks', value: k, checked: k === kinds[0], onchange: () => show(k) }), k))), box);
}
