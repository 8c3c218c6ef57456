// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Reads OTLP metrics with the messages of OpenTelemetry's own packages, and prints a list of requests, 64-bit integers as strings.
// node otlp.cjs FILE..     X.pb is one request in protobuf, any other file is OTLP/JSON lines, which must read back as they were.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");

const root = require(path.resolve(process.env.NODE_PATH, "@opentelemetry/otlp-transformer/build/src/generated/root.js"));
const Request = root.opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest;
const plain = (message) => Request.toObject(message, { longs: String });

function fromLine(line) {
  const written = JSON.parse(line);
  const message = Request.fromObject(written);
  assert.strictEqual(Request.verify(message), null);
  // Unknown or misspelt keys are gone, and values of a wrong type are others, after this.
  assert.deepStrictEqual(plain(message), written);
  return message;
}

const requests = process.argv.slice(2).flatMap((file) => {
  const bytes = fs.readFileSync(file);
  if (file.endsWith(".pb")) return [Request.decode(bytes)];
  assert(!bytes.length || bytes.at(-1) === 10, "the last line is not whole");
  return bytes.toString("utf8").split("\n").slice(0, -1).map(fromLine);
});
process.stdout.write(JSON.stringify(requests.map(plain)) + "\n");
