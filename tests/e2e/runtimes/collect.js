// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Makes garbage on a word from standard input, and tells what the pauses were by the runtime's own events.
const { PerformanceObserver, constants } = require("perf_hooks");

const told = { young: [0, 0], full: [0, 0] };
const names = { [constants.NODE_PERFORMANCE_GC_MINOR]: "young", [constants.NODE_PERFORMANCE_GC_MAJOR]: "full" };
new PerformanceObserver((list) => {
	for (const e of list.getEntries()) {
		const pauses = told[names[e.detail.kind]];
		if (!pauses) continue;
		pauses[0]++;
		pauses[1] += Math.round(e.duration * 1e6);
	}
}).observe({ entryTypes: ["gc"] });

let keep = [], turn = 0;
function step() {
	for (let k = 0; k < 20000; k++) keep.push({ a: k, b: [k, k + 1] });
	if (keep.length > 200000) keep = [];
	if (++turn % 10 === 0) globalThis.gc();
	if (turn < 100) setImmediate(step);
	else setTimeout(() => console.log(JSON.stringify(told)), 50); // the events come a turn of the loop later
}

process.stdin.once("data", () => {
	process.stdin.once("data", () => process.exit(0));
	told.young = [0, 0];
	told.full = [0, 0];
	step();
});
setTimeout(() => console.log("ready"), 50);
