// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Head and body of each request in a write of their own, on a socket that keeps small packets back.
'use strict';
const lib = require('./lib.js');

const CALLS = 50;

lib.run(async () => {
  const connection = new lib.Connection();
  await connection.opened;
  connection.socket.setNoDelay(false);
  for (let n = 0; n < CALLS; n++) {
    const request = JSON.stringify({ ms: 2, n: lib.number() }) + '\n';
    await new Promise((resolve) => {
      connection.done = resolve;
      if (lib.faulty) connection.socket.write(request.slice(0, 8), () => connection.socket.write(request.slice(8)));
      else connection.socket.write(request);
    });
    await lib.sleep(10);
  }
  return CALLS;
});
