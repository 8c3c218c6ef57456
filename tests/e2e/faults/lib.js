// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// What the programs in Node share: see lib.py.
'use strict';
const fs = require('fs');
const net = require('net');
const readline = require('readline');
const tls = require('tls');

const host = '127.0.0.1';
exports.faulty = process.argv[2] === 'faulty';
exports.ports = JSON.parse(process.argv[3]);

let last = 100000;
exports.number = () => last++; // for a request like no other

exports.Connection = class {
  constructor(port = 'plain', secure = false) {
    const where = { host, port: exports.ports[port], noDelay: true, rejectUnauthorized: false };
    this.socket = secure ? tls.connect(where) : net.connect(where);
    this.socket.setNoDelay(true);
    this.opened = new Promise((resolve) => this.socket.once(secure ? 'secureConnect' : 'connect', resolve));
    this.socket.on('data', (part) => {
      if (part[part.length - 1] === 10 && this.done) this.done();
    });
  }

  async call(wish) {
    await this.opened;
    return new Promise((resolve) => {
      this.done = resolve;
      this.socket.write(JSON.stringify(wish) + '\n');
    });
  }

  close() {
    this.socket.destroy();
  }
};

exports.sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const runq = () => Number(fs.readFileSync('/proc/self/schedstat', 'ascii').split(' ')[1]) / 1e9;

exports.run = function run(work) {
  const lines = readline.createInterface({ input: process.stdin });
  lines.once('line', async () => {
    const begin = process.hrtime.bigint(), cpu = process.cpuUsage(), waited = runq();
    const done = await work();
    const used = process.cpuUsage(cpu);
    const wall_s = () => Number(process.hrtime.bigint() - begin) / 1e9;
    const said = { done, wall_s: wall_s(), cpu_s: (used.user + used.system) / 1e6, runq_s: runq() - waited };
    while (!exports.faulty && wall_s() < 2.2) await work(); // as in lib.py
    console.log(JSON.stringify(said));
    process.exit(0);
  });
  console.log('ready');
};
