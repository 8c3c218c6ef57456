// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Burns CPU time in three functions: 50, 30 and 20 % of it, by the process's own clock. burn.js SECONDS
'use strict';

function cpuSeconds() {
	const u = process.cpuUsage();
	return (u.user + u.system) / 1e6;
}

function spin() {
	let sum = 0;
	for (let i = 0; i < 50000; i++)
		sum += i % 7;
	return sum;
}

function half(unit) {
	let sum = 0;
	for (const end = cpuSeconds() + 5 * unit; cpuSeconds() < end;)
		sum += spin();
	return sum;
}

function third(unit) {
	let sum = 1;
	for (const end = cpuSeconds() + 3 * unit; cpuSeconds() < end;)
		sum += spin();
	return sum;
}

function fifth(unit) {
	let sum = 2;
	for (const end = cpuSeconds() + 2 * unit; cpuSeconds() < end;)
		sum += spin();
	return sum;
}

for (let round = 0; round < Number(process.argv[2]) * 10; round++) {
	half(0.01);
	third(0.01);
	fifth(0.01);
}
