// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// A model whose answers stop twice each.
'use strict';
const lib = require('./lib.js');

const CALLS = 3;

lib.run(async () => {
  const connection = new lib.Connection('model');
  for (let n = 0; n < CALLS; n++) await connection.call({ ms: 50, chunks: 30, gap_ms: 15, stalls: lib.faulty ? { 7: 700, 21: 700 } : {} });
  return CALLS;
});
