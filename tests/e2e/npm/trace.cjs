// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// trace.cjs FILE: what @tracerbench/trace-model makes of a file of trace events, as JSON.
const fs = require("fs");
const zlib = require("zlib");
const { buildModel } = require("@tracerbench/trace-model");

const bytes = fs.readFileSync(process.argv[2]);
const model = buildModel(JSON.parse(bytes[0] == 0x1f ? zlib.gunzipSync(bytes) : bytes));
const event = (e) => ({ ph: e.ph, name: e.name, start: e.start, end: e.end, args: e.args, nested: e.parent !== undefined });
console.log(JSON.stringify({
  start: model.start, end: model.end,
  processes: model.processes.map((p) => ({
    pid: p.id, name: p.name, labels: p.labels,
    threads: p.threads.map((t) => ({ tid: t.id, name: t.name, events: t.events.map(event) })),
  })),
}));
