// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Calls a service while the threads of libuv's pool compute: a thread a job, in place of one a CPU.
'use strict';
const cpus = require('os').cpus().length;
const faulty = process.argv[2] === 'faulty';
const threads = process.env.UV_THREADPOOL_SIZE = faulty ? 64 : cpus;
const crypto = require('crypto');
const lib = require('./lib.js');

const CALLS = 200, JOB = 100000;
let calling = false;

function compute() {
  if (calling) crypto.pbkdf2('x', 'x', JOB, 32, 'sha256', compute);
}

require('fs').stat('/', () => lib.run(async () => { // the pool begins with its first job
  const connection = new lib.Connection();
  calling = true;
  for (let n = 0; n < threads; n++) compute();
  for (let n = 0; n < CALLS; n++) await connection.call({ ms: 10 });
  calling = false;
  return CALLS;
}));
