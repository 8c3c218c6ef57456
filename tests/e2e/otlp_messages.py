# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""OTLP requests, read by OpenTelemetry's own messages (npm/otlp.cjs), and compared with what is known of an agent."""
import pytest

import make_recording as make
from conftest import node

CUMULATIVE = 2
SECONDS_SHIFT = 957  # buckets of scale 5 between nanoseconds and seconds, rounded
UNITS = {"_ns": "ns", "_bytes": "By"}
CONVENTIONS = {"llm": "gen_ai.client.operation.duration", "db": "db.client.operation.duration", "cache": "db.client.operation.duration",
               "vector": "db.client.operation.duration", "http": "http.client.request.duration"}
OF_AGENTS = {  # metric: name, attribute, what a unit of ours is in theirs
    "cpu_user_ns": ("process.cpu.time", {"cpu.mode": "user"}, 1e-9), "cpu_system_ns": ("process.cpu.time", {"cpu.mode": "system"}, 1e-9),
    "rss_bytes": ("process.memory.usage", {}, 1), "threads": ("process.thread.count", {}, 1),
    "switches_voluntary": ("process.context_switches", {"process.context_switch.type": "voluntary"}, 1),
    "switches_involuntary": ("process.context_switches", {"process.context_switch.type": "involuntary"}, 1),
    "faults_minor": ("process.paging.faults", {"system.paging.fault.type": "minor"}, 1),
    "faults_major": ("process.paging.faults", {"system.paging.fault.type": "major"}, 1),
    "sent_bytes": ("process.network.io", {"network.io.direction": "transmit"}, 1),
    "received_bytes": ("process.network.io", {"network.io.direction": "receive"}, 1)}


def attributes(of):
    return {a["key"]: int(a["value"]["intValue"]) if "intValue" in a["value"] else a["value"]["stringValue"] for a in of.get("attributes", [])}


class Resource:
    """One ResourceMetrics: its attributes and its points, by name and attributes."""

    def __init__(self, metrics):
        self.attributes = attributes(metrics["resource"])
        (scope,) = metrics["scopeMetrics"]
        assert scope["scope"]["name"] == "stakeout"
        self.metrics = {m["name"]: m for m in scope["metrics"]}
        assert len(self.metrics) == len(scope["metrics"]), "a name twice"
        self.points = {}
        for name, m in self.metrics.items():
            (data,) = [m[kind] for kind in ("sum", "gauge", "exponentialHistogram") if kind in m]
            assert m["description"] and m["unit"] and data["dataPoints"]
            assert data.get("aggregationTemporality", CUMULATIVE) == CUMULATIVE
            for p in data["dataPoints"]:
                key = (name, frozenset(attributes(p).items()))
                assert key not in self.points, "a series twice"
                self.points[key] = p

    def series(self, name, **having):
        """Points of a name with these attributes (dots as two underlines), and maybe others."""
        having = {k.replace("__", "."): v for k, v in having.items()}
        return [p for (n, a), p in self.points.items() if n == name and having.items() <= dict(a).items()]

    def point(self, name, exactly=None, **having):
        if exactly is not None:
            return self.points[(name, frozenset(exactly.items()))]
        (p,) = self.series(name, **having)
        return p

    def value(self, name, exactly=None, **having):
        p = self.point(name, exactly, **having)
        return int(p["asInt"]) if "asInt" in p else p["asDouble"]

    def unit(self, name):
        return self.metrics[name]["unit"]


class Request:
    def __init__(self, message):
        self.resources = [Resource(r) for r in message["resourceMetrics"]]
        self.observer, self.agents = self.resources[0], self.resources[1:]
        assert self.observer.attributes["service.name"] == "stakeout"
        self.intervals = self.observer.value("stakeout.observer.intervals")

    def agent(self, name=None):
        (a,) = [a for a in self.agents if name in (None, a.attributes["service.name"])]
        return a


def read(*files):
    return [Request(m) for m in node("otlp.cjs", *files)]


def name_of(metric, scope=""):
    ending = next((e for e in UNITS if metric.endswith(e)), "")
    return f"stakeout.{scope}{metric.removesuffix(ending)}", UNITS.get(ending, "{count}")


def add_hist(into, h):
    """Sums of the recording's own histograms, bucket by bucket."""
    for key in ("count", "sum", "zero_count"):
        into[key] = into.get(key, 0) + h[key]
    into["min"] = min(into.get("min", h["min"]), h["min"])
    into["max"] = max(into.get("max", 0), h["max"])
    buckets = into.setdefault("buckets", {})
    for i, n in enumerate(h["bucket_counts"], h["offset"]):
        if n:
            buckets[i] = buckets.get(i, 0) + n


def assert_hist(point, known, seconds=False):
    """Each bucket has the same count, and stands for the same values (in seconds: moved, by less than 1 %)."""
    unit, shift = (1e9, SECONDS_SHIFT) if seconds else (1, 0)
    first = point["positive"].get("offset", 0)
    got = {i + shift: int(n) for i, n in enumerate(point["positive"].get("bucketCounts", []), first) if int(n)}
    assert point["scale"] == make.SCALE and got == known["buckets"]
    assert (int(point["count"]), int(point.get("zeroCount", 0))) == (known["count"], known["zero_count"])
    assert sum(got.values()) + known["zero_count"] == known["count"]
    assert (point["sum"], point["min"], point["max"]) == tuple(pytest.approx(known[k] / unit, rel=1e-15) for k in ("sum", "min", "max"))
    base = 2 ** 2 ** -point["scale"]
    assert base ** (max(got) - shift) * 0.99 <= point["max"] <= base ** (max(got) - shift + 1) * 1.01


class Known:
    """Sums over a recording's intervals, as they stand in its lines."""

    def __init__(self):
        self.counters, self.gauges, self.hists, self.ledger, self.peaks = {}, {}, {}, {}, {}
        self.peers, self.tools = {}, {}

    def add(self, d):
        for c, n in d["counters"].items():
            self.counters[c] = self.counters.get(c, 0) + n
        for g, n in d.get("gauges", {}).items():
            self.gauges[g] = n
            self.peaks[g] = max(self.peaks.get(g, 0), n)
        for m, h in d["hist"].items():
            add_hist(self.hists.setdefault(m, {}), h)
        for view, states in d.get("ledger", {}).items():
            for state, s in states.items():
                key = (view.removesuffix("_s"), state)
                self.ledger[key] = self.ledger.get(key, 0) + round(s * 1e9)
        for p in d.get("peers", []):
            known = self.peers.setdefault((p["side"], p["peer"], p["name"]), Known())
            known.kind = p["class"]
            known.add(p)
        for t in d.get("tools", []):
            self.tools.setdefault(t["name"], Known()).add(t)


def assert_peer(agent, key, known):
    side, peer, name = key
    address, _, port = peer.rpartition(":")
    having = {"server__address": name or (address if port.isdigit() else peer).strip("[]"), "stakeout__peer__side": side,
              "stakeout__peer__class": known.kind}
    for c, n in known.counters.items():
        if n:
            assert agent.value(name_of(c, "peer.")[0], **having) == n
    for m, h in known.hists.items():
        convention = CONVENTIONS.get(known.kind) if m == "exchange_ns" and side == "client" else None
        own, unit = name_of(m, "peer.")
        assert agent.unit(convention or own) == ("s" if convention else unit)
        assert_hist(agent.point(convention or own, **having), h, seconds=bool(convention))


def assert_agent(agent, known):
    for metric, n in {**known.counters, **known.gauges}.items():
        if metric in OF_AGENTS:
            name, exactly, unit = OF_AGENTS[metric]
            assert agent.value(name, exactly) == pytest.approx(n * unit, rel=1e-15), metric
        else:
            name, unit = name_of(metric)
            assert (agent.value(name, {}), agent.unit(name)) == (n, unit), metric
    for m, h in known.hists.items():
        assert agent.unit(name_of(m)[0]) == name_of(m)[1]
        assert_hist(agent.point(name_of(m)[0], {}), h)
    for (view, state), ns in known.ledger.items():
        assert agent.value(f"stakeout.ledger.{view}", stakeout__state=state) == ns
    for key, peer in known.peers.items():
        assert_peer(agent, key, peer)
    for tool, of in known.tools.items():
        for c, n in of.counters.items():
            assert not n or agent.value(name_of(c, "tool.")[0], {"stakeout.tool.name": tool}) == n
        for m, h in of.hists.items():
            assert_hist(agent.point(name_of(m, "tool.")[0], {"stakeout.tool.name": tool}), h)


def monotonic(name, agent):
    return agent.metrics[name].get("sum", {}).get("isMonotonic", False)
