// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// hlog.cjs FILE: the intervals of an HdrHistogram log as hdr-histogram-js reads them, as JSON.
const fs = require("fs");
const { HistogramLogReader, listTags } = require("hdr-histogram-js");

const text = fs.readFileSync(process.argv[2], "utf8");
const reader = new HistogramLogReader(text, 64);
const lines = [];
for (let h; (h = reader.nextIntervalHistogram()); ) {
  const values = [];
  const each = h.recordedValuesIterator;
  for (each.reset(); each.hasNext(); ) {
    const at = each.next();
    values.push([h.lowestEquivalentValue(at.valueIteratedTo), h.highestEquivalentValue(at.valueIteratedTo), at.countAddedInThisIterationStep]);
  }
  lines.push({
    tag: h.tag, start_ms: h.startTimeStampMsec, end_ms: h.endTimeStampMsec, count: h.totalCount, max: h.maxValue, min: h.minNonZeroValue,
    quantiles: Object.fromEntries([50, 90, 99, 100].map((p) => [p, h.getValueAtPercentile(p)])), values,
  });
}
console.log(JSON.stringify({ tags: listTags(text), lines }));
