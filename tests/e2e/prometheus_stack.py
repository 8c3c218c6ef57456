# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What tests of the pages of metrics run: the daemon, Prometheus, node_exporter, namespaces of the network."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import urllib.parse
import urllib.request

from conftest import HANG_S, STAKEOUT, free_port, wait_for


def get(url, headers=(), timeout=HANG_S):
    """Status, headers and body; errors of HTTP are no exceptions."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=HANG_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


class Process:
    """A program that ends with the test, its output in a file."""

    def __init__(self, folder, name, argv):
        self.log = folder / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)

    def said(self):
        return self.log.read_text(errors="replace")

    def alive(self):
        assert self.process.poll() is None, self.said()
        return True

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=HANG_S)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Serve(Process):
    """A daemon: its configuration is the text given, as YAML."""

    def __init__(self, folder, name, text, address, netns=None):
        self.address = address
        config = folder / f"{name}.yaml"
        config.write_text(text)
        # Only the network is another one: /sys stays what it is, cgroups and all.
        enter = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
        super().__init__(folder, name, [*enter, STAKEOUT, "serve", "-c", config])

    def url(self, path="/metrics", scheme="http"):
        return f"{scheme}://{self.address}{path}"

    def ready(self):
        def answer():
            self.alive()
            try:
                return get(self.url("/readyz"))[0] == 200
            except OSError:
                return False

        wait_for("the daemon to be ready", answer)
        return self


class Prometheus(Process):
    def __init__(self, folder, targets, rules=(), native=True):
        self.address = f"127.0.0.1:{free_port()}"
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(r) for r in rules],
            "scrape_configs": [{"job_name": "stakeout", "static_configs": [{"targets": targets}]}],
        }))
        super().__init__(folder, "prometheus", [
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address={self.address}",
            *(["--enable-feature=native-histograms"] if native else [])])

    def api(self, path, **query):
        status, _, body = get(f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        answer = json.loads(body)
        assert status == 200 and answer["status"] == "success", f"{query}: {answer}"
        return answer["data"]

    def query(self, expr, time=None):
        """The vector as a list of (labels, value), a value being a float or a histogram."""
        data = self.api("query", query=expr, **({"time": time} if time else {}))
        assert data["resultType"] == "vector", expr
        return [(r["metric"], float(r["value"][1]) if "value" in r else r["histogram"][1]) for r in data["result"]]

    def value(self, expr, time=None):
        """That of the only series; None where there is none."""
        found = self.query(expr, time)
        assert len(found) < 2, f"{expr}: {found}"
        return found[0][1] if found else None

    def ready(self):
        def answer():
            self.alive()
            try:
                return get(f"http://{self.address}/-/ready")[0] == 200
            except OSError:
                return False

        wait_for("Prometheus", answer)
        return self


class Networks:
    """Namespaces, each with a link to this one."""

    def __init__(self, count):
        self.names = []
        try:
            for n in range(count):
                self.add(n)
        except BaseException:
            self.close()
            raise

    def add(self, n):
        name, link = f"so{os.getpid()}n{n}", f"so{os.getpid() % 100000}v{n}"
        subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"

        def ip(*words, inside=False):
            subprocess.run([*(["nsenter", f"--net=/run/netns/{name}"] if inside else []), "ip", *words], check=True)

        ip("netns", "add", name)
        self.names.append((name, f"{subnet}.{4 * n + 2}"))
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{subnet}.{4 * n + 1}/30", "dev", link)
        ip("link", "set", link, "up")
        ip("addr", "add", f"{subnet}.{4 * n + 2}/30", "dev", "eth0", inside=True)
        ip("link", "set", "eth0", "up", inside=True)

    def close(self):
        for name, _ in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def expressions(dashboard):
    """(panel, query) of a Grafana dashboard, with its variables filled in as Grafana does."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            expr = target["expr"].replace("$__rate_interval", "1m")
            yield panel["title"], re.sub(r"\$(job|instance|agent)\b", ".*", expr)
