// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Elements and tables. What comes out of a recording only ever becomes text: no markup is made of it anywhere. */
const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
	for (const [key, value] of Object.entries(attributes || {})) {
		if (value === undefined || value === null || value === false)
			continue;
		if (key.startsWith('on'))
			node.addEventListener(key.slice(2), value);
		else if (key === 'style')
			Object.assign(node.style, value);
		else
			node.setAttribute(key, value === true ? '' : value);
	}
	node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
	return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/* A name out of the recording: its writing direction must not change that of what stands around it. */
const name = (text) => el('bdi', {}, text);

const swatch = (color) => el('span', { class: 'swatch', 'aria-hidden': 'true', style: { background: color } });

/*
 * A table that sorts by its columns. column: {title, key, num, value(row), text(value, row) or node(row), help}. A cell's raw value stands in its data-v, so
 * that a program can read the page as well. drawer(row): what the first column's button unfolds; quiet: the caption is for those who don't see the heading above.
 */
function table(caption, columns, rows, options = {}) {
	const body = el('tbody');
	const heads = columns.map((c, i) => el('th', { scope: 'col', class: c.num && 'num', title: c.help },
		rows.length > 1 && (c.value || c.num) ? el('button', { type: 'button', onclick: () => sort(i) }, c.title) : c.title));
	const lines = rows.map((row) => line(row));
	let sorted = -1, falling = false;

	function cell(c, row, i) {
		const value = c.value ? c.value(row) : undefined;
		const content = c.node ? c.node(row) : value === null || value === undefined ? '–' : c.text ? c.text(value, row) : String(value);
		const raw = { 'data-k': c.key || c.title, 'data-v': value === null || value === undefined ? undefined : String(value) };

		const short = String(value ?? '').length <= 34;

		return i ? el('td', { class: c.num ? 'num' : c.wide && 'text', ...raw }, content) : el('th', { scope: 'row', class: c.num ? 'num' : short && 'short', ...raw }, content);
	}

	function line(row) {
		const cells = columns.map((c, i) => cell(c, row, i));
		const tr = el('tr', { 'data-row': options.id ? options.id(row) : undefined }, cells);

		if (!options.drawer)
			return { row, nodes: [tr] };
		const button = el('button', { type: 'button', class: 'open', 'aria-expanded': 'false' }, ...cells[0].childNodes);
		const drawer = el('tr', { class: 'drawer', hidden: true }, el('td', { colspan: columns.length }));

		button.addEventListener('click', () => {
			const open = button.getAttribute('aria-expanded') !== 'true';

			button.setAttribute('aria-expanded', open);
			drawer.hidden = !open;
			if (open && !drawer.firstChild.firstChild)
				drawer.firstChild.append(options.drawer(row));
		});
		cells[0].replaceChildren(button);
		return { row, nodes: [tr, drawer] };
	}

	function sort(i) {
		falling = sorted === i ? !falling : columns[i].num;
		sorted = i;
		heads.forEach((h, n) => n === i ? h.setAttribute('aria-sort', falling ? 'descending' : 'ascending') : h.removeAttribute('aria-sort'));
		const of = (l) => columns[i].value ? columns[i].value(l.row) : undefined;
		const order = (a, b) => a === undefined || a === null ? 1 : b === undefined || b === null ? -1 : typeof a === 'string' ? a.localeCompare(b) : a - b;

		lines.sort((a, b) => (falling ? -1 : 1) * order(of(a), of(b)));
		body.append(...lines.flatMap((l) => l.nodes));
	}

	body.append(...lines.flatMap((l) => l.nodes));
	return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
		el('table', { 'data-table': options.name }, el('caption', { class: options.quiet && 'sr' }, caption), el('thead', {}, el('tr', {}, heads)), body));
}

/* A table that is made when somebody opens it. */
function folded(title, make) {
	const box = el('details', { class: 'fold' }, el('summary', {}, title));

	box.addEventListener('toggle', () => {
		if (box.open && box.childNodes.length === 1)
			box.append(make());
	});
	return box;
}

let sections = [];

/* A part of the page, with its place in the list of contents. */
function section(id, title, hint, ...content) {
	const node = el('section', { id, 'aria-labelledby': `${id}-title` }, el('h2', { id: `${id}-title` }, title), hint && el('p', { class: 'hint' }, hint), ...content);

	sections.push({ id, title });
	return node;
}

const tip = document.getElementById('tip');

/* {title, rows: [[colour or null, label, value]]} next to a place of the window. */
function showTip(what, x, y) {
	const rows = what.rows.map(([color, label, value]) => el('tr', {}, el('td', {}, color && swatch(color), color && ' ', label), el('td', {}, value)));

	tip.replaceChildren(el('b', {}, what.title), el('table', {}, el('tbody', {}, rows)));
	tip.hidden = false;
	const box = tip.getBoundingClientRect();

	tip.style.left = `${Math.max(4, x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16)}px`;
	tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - box.height - 6))}px`;
}

const hideTip = () => { tip.hidden = true; };
