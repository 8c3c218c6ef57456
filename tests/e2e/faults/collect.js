// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Collects a large heap over and over.
'use strict';
require('v8').setFlagsFromString('--expose-gc');
const collect = require('vm').runInNewContext('gc');
const lib = require('./lib.js');

const ROUNDS = 45, OBJECTS = 300000;
const heap = Array.from({ length: OBJECTS }, (_, n) => ({ n, next: [n] }));

lib.run(async () => {
  for (let n = 0; n < ROUNDS; n++) {
    if (lib.faulty) collect();
    await lib.sleep(50);
  }
  return ROUNDS + heap.length;
});
