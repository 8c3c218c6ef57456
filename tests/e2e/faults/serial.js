// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Three calls that don't need each other's answers, one after another in place of at once.
'use strict';
const lib = require('./lib.js');

const ROUNDS = 30, WISHES = [['plain', 25], ['second', 20], ['third', 20]];

lib.run(async () => {
  const calls = WISHES.map(([port, ms]) => {
    const connection = new lib.Connection(port);
    return () => connection.call({ ms, n: lib.number() });
  });
  for (let round = 0; round < ROUNDS; round++) {
    if (lib.faulty) for (const call of calls) await call();
    else await Promise.all(calls.map((call) => call()));
    await lib.sleep(20);
  }
  return ROUNDS * WISHES.length;
});
