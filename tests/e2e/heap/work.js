// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Makes and drops buffers and objects; waits for a byte before and after each turn.
const fs = require('fs');
const byte = Buffer.alloc(1);
const kept = [];
let seen = 0;

fs.writeSync(1, 'ready\n');
while (fs.readSync(3, byte, 0, 1)) {
  for (let i = 0; i < 3000; i++) {
    kept[i % 50] = Buffer.allocUnsafeSlow(500 + i % 5000);
    seen += JSON.stringify({ i, text: 'y'.repeat(i % 300) }).length;
  }
  fs.writeSync(1, 'done\n');
}
process.reallyExit(0);
