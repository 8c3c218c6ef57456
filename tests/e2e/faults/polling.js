// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// A timer that looks every 2 ms whether there is work, in place of waiting for it.
'use strict';
const lib = require('./lib.js');

const MS = 4000;

lib.run(async () => {
  const jobs = [];
  let there = null;
  const work = lib.faulty
    ? new Promise((resolve) => {
      const timer = setInterval(() => {
        if (jobs.length === 0) return;
        clearInterval(timer);
        resolve();
      }, 2);
    })
    : new Promise((resolve) => { there = resolve; });
  setTimeout(() => {
    jobs.push(1);
    if (there) there();
  }, MS);
  await work;
  return jobs.length;
});
