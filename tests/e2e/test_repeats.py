# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Requests that are made again (+dup): as many as the client knows it repeated, in the clear and through TLS, whatever writes it."""
import subprocess

import pytest
from services import ENV, PYTHON, finish, observe, open_services, peer

CALLS, THINGS = 80, 8

# Each asks for the things in turn, over one connection or (close) one a call, after a line on stdin.
SYNC = """
import http.client, json, ssl, sys
scheme, port, keep, pad, calls, things = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "keep", *map(int, sys.argv[4:])
tls, c = ssl._create_unverified_context(), None
print("ready", flush=True)
sys.stdin.readline()
for n in range(calls):
    if not c or not keep:
        c = http.client.HTTPSConnection("127.0.0.1", port, context=tls) if scheme == "https" else http.client.HTTPConnection("127.0.0.1", port)
    c.request("POST", "/", json.dumps({"thing": n % things, "pad": "y" * pad}))
    c.getresponse().read()
"""
ASYNC = """
import asyncio, json, ssl, sys
scheme, port, keep, pad, calls, things = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "keep", *map(int, sys.argv[4:])
tls = ssl._create_unverified_context() if scheme == "https" else None
print("ready", flush=True)
sys.stdin.readline()
async def main():
    w = None
    for n in range(calls):
        if not w or not keep:
            r, w = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        body = json.dumps({"thing": n % things, "pad": "y" * pad}).encode()
        w.write(b"POST / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body))
        w.write(body)
        await r.readuntil(b"0\\r\\n\\r\\n")
        if not keep:
            w.close()
asyncio.run(main())
"""
NODE = """
const [scheme, port, kept, ...numbers] = process.argv.slice(1), [pad, calls, things] = numbers.map(Number);
const http = require(scheme), agent = new http.Agent({keepAlive: kept === 'keep', maxSockets: 1});
const call = n => new Promise((done, failed) => {
  const body = JSON.stringify({thing: n % things, pad: 'y'.repeat(pad)}), headers = {'content-length': body.length};
  const request = http.request({host: '127.0.0.1', port, method: 'POST', agent, headers, rejectUnauthorized: false}, answer => { answer.resume(); answer.on('end', done); });
  request.on('error', failed);
  request.end(body);
});
process.stdin.once('data', async () => {
  for (let n = 0; n < calls; n++) await call(n);
  process.exit();
});
console.log('ready');
"""
CLIENTS = {"sync": (PYTHON, "-c", SYNC), "asyncio": (PYTHON, "-c", ASYNC), "node": ("node", "-e", NODE)}


@pytest.fixture
def services(tmp_path):
    yield from open_services(tmp_path)


@pytest.mark.parametrize("keep", ["keep", "close"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_repeats(stakeout, services, scheme, keep):
    """All clients at once; of each, all but the first request for each thing are repeats. Small requests and large ones, which go in many parts."""
    server = services.server(tls=scheme == "https")
    argvs = [(*CLIENTS[name], scheme, server.port, keep, pad, CALLS, things) for name in CLIENTS for pad in (100, 40000) for things in (THINGS, CALLS)]
    clients = [services.agents(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENV) for argv in argvs]
    for c in clients:
        assert c.stdout.readline() == "ready\n"
    observer, out = observe(stakeout, clients, "--probe", "+dup", "--budget", "off")
    for c in clients:
        c.stdin.write("go\n")
        c.stdin.flush()
    for c in clients:
        assert c.wait() == 0
    recording = finish(observer, out)
    for c, argv in zip(clients, argvs):
        told = peer(recording.agent(c.pid), server.port)
        assert told["counters"]["exchanges"] == CALLS, argv
        assert told["counters"].get("requests_repeated", 0) == CALLS - argv[-1], argv
