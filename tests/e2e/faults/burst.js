// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// A query an item, in place of one for all of them.
'use strict';
const lib = require('./lib.js');

const LISTS = 30, ITEMS = 12;

lib.run(async () => {
  const db = new lib.Connection('database');
  for (let list = 0; list < LISTS; list++) {
    for (let item = 0; item < (lib.faulty ? ITEMS : 1); item++)
      await db.call({ ms: 3, what: `select * from items where id = ${lib.number()}` });
    await lib.sleep(40); // what is done with them
  }
  return LISTS * ITEMS;
});
