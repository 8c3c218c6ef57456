// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// The same in JavaScript (node --perf-basic-prof --no-turbo-inlining, or the compiler takes request apart): the blocks of buffers are malloc's.
const sessions = [];
const pool = [];
let i = 0;

function sessionRemember() {
  sessions.push(Buffer.allocUnsafeSlow(1024));
}

function bufferReplace(n) {
  pool[n % 100] = Buffer.allocUnsafeSlow(1000 + n % 50);
}

function request() {
  sessionRemember();
  bufferReplace(i);
  bufferReplace(i * 7);
  i++;
}

for (let n = 0; n < 3000; n++)
  request();
require('fs').writeSync(1, 'compiled\n');
setInterval(request, 1);
