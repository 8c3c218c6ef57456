// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// A connection a call, in place of one for all.
'use strict';
const lib = require('./lib.js');

const CALLS = 90;

lib.run(async () => {
  let connection = null;
  for (let n = 0; n < CALLS; n++) {
    connection = connection || new lib.Connection('tls', true);
    await connection.call({ ms: 8 });
    if (lib.faulty) {
      connection.close();
      connection = null;
    }
  }
  return CALLS;
});
