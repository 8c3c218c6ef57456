// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Figures for people, as the terminal's report writes them: three significant digits and a unit. A unit begins where the smaller one would round to a fourth digit. */
const KIB = 1024;
const scales = {
	ns: [[72 * 3600e9, 86400e9, ' d'], [99.95 * 60e9, 3600e9, ' h'], [999.5e9, 60e9, ' min'], [999.5e6, 1e9, ' s'], [999.5e3, 1e6, ' ms'], [999.5, 1e3, ' us'],
		[0, 1, ' ns']],
	bytes: [...['EiB', 'PiB', 'TiB', 'GiB', 'MiB', 'KiB'].map((unit, i) => [1023.5 * KIB ** (5 - i), KIB ** (6 - i), ' ' + unit]), [0, 1, ' B']],
	count: [...['E', 'P', 'T', 'G', 'M', 'k'].map((unit, i) => [999.5 * 1000 ** (5 - i), 1000 ** (6 - i), ' ' + unit]), [0, 1, '']],
};

function scaled(value, rows) {
	const v = value > 0 ? value : 0;
	const [, divisor, suffix] = rows.find(([from]) => v >= from);
	const n = v / divisor;

	return n.toFixed(divisor === 1 ? 0 : n < 9.995 ? 2 : n < 99.95 ? 1 : 0) + suffix;
}

const nsText = (v) => scaled(v, scales.ns);
const secondsText = (s) => nsText(s * 1e9);
const bytesText = (v) => scaled(v, scales.bytes);
const countText = (v) => scaled(v, scales.count);
const unitText = (v, unit) => scaled(v, scales[unit]);

function rateText(perSecond) {
	if (!(perSecond > 0))
		return '0';
	if (perSecond >= 99.95)
		return countText(perSecond);
	return perSecond < 0.005 ? '<0.01' : perSecond.toFixed(perSecond < 9.995 ? 2 : 1);
}

/* Of a share of 1. */
function percentText(share) {
	const percent = share * 100;

	if (!(percent > 0))
		return '0 %';
	return percent < 0.05 ? '<0.1 %' : `${percent.toFixed(1)} %`;
}

const two = (n) => String(n).padStart(2, '0');

/* Time of day, in UTC as the recording's start is told. */
function clockText(date, seconds) {
	return `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}${seconds ? ':' + two(date.getUTCSeconds()) : ''}`;
}

const dayText = (date) => date.toISOString().slice(0, 10);
