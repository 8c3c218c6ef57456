// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Tasks that sleep by Atomics.wait(), which holds the event loop up, in place of a timer.
'use strict';
const lib = require('./lib.js');

const TASKS = 16, ROUNDS = 8, MS = 20;
const never = new Int32Array(new SharedArrayBuffer(4));

async function task() {
  for (let n = 0; n < ROUNDS; n++) {
    await lib.sleep(1);
    if (lib.faulty) Atomics.wait(never, 0, 0, MS);
    else await lib.sleep(MS);
  }
}

lib.run(async () => {
  await Promise.all(Array.from({ length: TASKS }, task));
  return TASKS * ROUNDS;
});
