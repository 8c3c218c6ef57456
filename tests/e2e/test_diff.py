# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""stakeout diff: recordings whose truth is known, compared; what it says checked by other readers of JSON and XML."""
import json
import random
import xml.etree.ElementTree as ET

import pytest
from make_recording import Agent, PROBES, client, quantile, write

SECONDS, INTERVALS = 120.0, 60


def agent(seed, times=1.0, memory=1.0, name="agent", failing=0, id=1, **changes):
    """An agent that makes 600 calls of a model, of which `failing` are reset."""
    r = random.Random(seed)
    peer = client(r, "203.0.113.10:443", "llm.example.com", "llm", 600, 4e7 * times, 6e7 * times, 3, errors={"errors_reset": failing})
    settings = dict(name=name, values=peer["values"], counters={"cpu_user_ns": int(6e9 * times), "cpu_system_ns": int(2e9 * times), **peer["counters"]},
                    gauges={"rss_bytes": int((200 << 20) * memory), "rss_peak_bytes": int((210 << 20) * memory)},
                    ledger={"running": 8, "runnable": 1, "net.llm": 60, "idle": SECONDS - 69}, peers=[peer])
    settings.update(changes)
    return Agent(id, **settings)


def recording(path, *agents, **how):
    return write(path, agents, **{"seconds": SECONDS, "intervals": INTERVALS, **how})


@pytest.fixture
def pair(tmp_path):
    return recording(tmp_path / "base.ndjson", agent(1)), recording(tmp_path / "new.ndjson", agent(2, times=1.8, failing=120))


def compared(done, status=0):
    assert done.returncode == status, done.stderr.decode()
    return json.loads(done.stdout)


def rows(j, **wanted):
    return [c for c in j["comparisons"] if all(c.get(k) == v for k, v in wanted.items())]


def test_verdicts_and_values(stakeout, pair):
    j = compared(stakeout("diff", *pair, "--json"), 1)
    for measure, q in ("exchange_p50", 0.5), ("exchange_p95", 0.95):
        (row,) = rows(j, measure=measure)
        for side, seed, times in ("base", 1, 1), ("new", 2, 1.8):
            true = quantile(agent(seed, times).peers[0]["values"]["exchange_ns"], q) / 1e9
            assert row[side] == pytest.approx(true, rel=0.012)
        assert row["class"] == "llm" and row["verdict"] == "degraded" and 0 < row["low"] < row["change"] < row["high"]
    (row,) = rows(j, measure="errors")
    assert row["verdict"] == "degraded" and row["absolute"] and row["new"] == pytest.approx(120 / 600) and row["change"] == pytest.approx(120 / 600)
    (row,) = rows(j, measure="cpu")
    assert row["verdict"] == "degraded" and row["base"] == pytest.approx(8 / SECONDS) and row["change"] == pytest.approx(0.8, abs=1e-6)
    assert {c["verdict"] for c in rows(j, measure="rss") + rows(j, measure="rss_peak")} == {"stable"}
    assert j["counts"]["degraded"] == len(rows(j, verdict="degraded")) and j["single_runs"]
    assert rows(j, measure="rss")[0]["detectable"] == pytest.approx(0.1)  # it doesn't vary: any change beyond its limit
    assert rows(j, measure="exchange_p95")[0]["detectable"] > 0.2
    back = compared(stakeout("diff", *reversed(pair), "--json"))
    assert not back["counts"]["degraded"] and back["counts"]["improved"] == j["counts"]["degraded"]
    assert compared(stakeout("diff", pair[0], pair[0], "--json"))["counts"]["stable"] > 5


def test_the_table_fits(stakeout, pair):
    done = stakeout("diff", *pair, "--width", "80")
    text = done.stdout.decode()
    assert done.returncode == 1 and all(len(line) <= 80 for line in text.splitlines())
    assert text.index("Degraded") < text.index("exchange_p95") and "Stable" not in text and "what differs from run to run" in " ".join(text.split())
    every = stakeout("diff", *pair, "--all", "--width", "80").stdout.decode()
    assert "Stable" in every and "seen from" in every and all(len(line) <= 80 for line in every.splitlines())
    assert "from this size on" in " ".join(text.split()) and "rss +" in text[text.index("Notes"):]


def test_limits(stakeout, pair):
    j = compared(stakeout("diff", *pair, "--json", "--limit", "cpu=100%", "--limit", "time=900", "--limit", "exchange_p50=50%", "--limit", "errors=20"), 1)
    assert {c["measure"] for c in rows(j, verdict="degraded")} == {"exchange_p50"}
    assert {c["limit"] for c in rows(j, measure="exchange_p50")} == {0.5}


def test_junit(stakeout, pair):
    assert stakeout("diff", *pair, "--junit", "out.xml").returncode == 1
    j = compared(stakeout("diff", *pair, "--json"), 1)
    root = ET.parse(stakeout.folder / "out.xml").getroot()
    cases = root.findall("testsuite/testcase")
    failed = {c.get("name") for c in cases if c.find("failure") is not None}
    assert failed == {f"{c.get('class', '')} {c['measure']}".strip() for c in rows(j, verdict="degraded")}
    assert len(cases) == len(j["comparisons"]) == int(root.get("tests")) and int(root.get("failures")) == len(failed)
    assert {c.get("classname") for c in cases} == {"agent"}
    refused = stakeout("diff", *pair, "--junit", "out.xml")
    assert refused.returncode == 5 and b"--force" in refused.stderr
    assert stakeout("diff", *pair, "--junit", "out.xml", "--force").returncode == 1
    assert stakeout("diff", *pair, "--junit", "nowhere/out.xml").returncode == 5


def test_several_recordings_a_side(stakeout, tmp_path):
    """Runs that differ by what they differ by anyway; one of each side looks like a change."""
    level = [1, 1.4, 0.8, 1.2]
    base = [recording(tmp_path / f"a{i}.ndjson", agent(i, times=level[i])) for i in range(4)]
    new = [recording(tmp_path / f"b{i}.ndjson", agent(10 + i, times=level[3 - i] * 1.05)) for i in range(4)]
    j = compared(stakeout("diff", "--base", *base, "--new", *new, "--json"))
    assert not j["counts"]["degraded"] and not j["single_runs"] and j["base"] == base and j["new"] == new
    assert compared(stakeout("diff", base[0], new[2], "--json"), 1)["counts"]["degraded"]
    slow = [recording(tmp_path / f"c{i}.ndjson", agent(20 + i, times=level[i] * 4)) for i in range(4)]
    assert len(rows(compared(stakeout("diff", "--base", *base, "--new", *slow, "--json"), 1), measure="exchange_p50", verdict="degraded")) == 1


def test_unlike_recordings(stakeout, tmp_path):
    base = recording(tmp_path / "base.ndjson", agent(1), agent(3, name="gone", id=2))
    off = [{"name": p, "state": "off" if p == "sock" else "on", "why": ""} for p in PROBES]
    new = recording(tmp_path / "new.ndjson", agent(2, times=3, peers=[], values={}), probes=off, seconds=30.0, intervals=60)
    j = compared(stakeout("diff", base, new, "--json"), 1)
    assert {c["why"] for c in rows(j, **{"class": "llm"})} == {"new: probe sock was off"}
    said = " / ".join(j["warnings"])
    assert "agent gone is in the base recording only" in said and "probe sock" in said and "intervals of 2 s and of 0.5 s" in said and "4 times as long" in said
    lost = recording(tmp_path / "lost.ndjson", agent(2, times=3), lost={"ring_full": 30000})
    j = compared(stakeout("diff", base, lost, "--json"))
    assert not j["counts"]["degraded"] and {c["verdict"] for c in j["comparisons"]} == {"insufficient data"} and "lost 20.0 %" in " ".join(j["warnings"])


def test_too_little(stakeout, tmp_path):
    few = agent(1, values={"exchange_ns": [10**8] * 15}, peers=[{"peer": "10.0.0.1:1", "class": "db", "counters": {"exchanges": 15}, "values": {"exchange_ns": [10**8] * 15}}])
    slow = agent(1, values={"exchange_ns": [10**9] * 15}, peers=[{"peer": "10.0.0.1:1", "class": "db", "counters": {"exchanges": 15}, "values": {"exchange_ns": [10**9] * 15}}])
    a, b = recording(tmp_path / "a.ndjson", few), recording(tmp_path / "b.ndjson", slow)
    j = compared(stakeout("diff", a, b, "--json"))
    assert rows(j, measure="exchange_p50")[0]["why"] == "base: 15 of 20 values needed"
    empty = recording(tmp_path / "empty.ndjson")
    j = compared(stakeout("diff", a, empty, "--json"))
    assert not j["comparisons"] and "agent agent is in the base recording only" in j["warnings"]
    short = recording(tmp_path / "short.ndjson", agent(1, times=5), seconds=4.0, intervals=2)
    assert set(c["verdict"] for c in compared(stakeout("diff", a, short, "--json"))["comparisons"]) == {"insufficient data"}
    assert b"nothing to compare" in stakeout("diff", a, empty).stdout


def test_names_are_harmless(stakeout, tmp_path):
    """Escape codes, markup and what is no character reach neither terminal nor XML."""
    name = 'a\x1b[31m<&">\n\ufffe\ud83d\ude00'.encode("utf-16", "surrogatepass").decode("utf-16")
    pair = [recording(tmp_path / f"{i}.ndjson", agent(i, name=name, times=1 + i, tools={"x]]>\x01": {"counters": {"exits": 40}, "values": {"tool_ns": [10**8 * (1 + i)] * 60}}}))
            for i in range(2)]
    text = stakeout("diff", *pair, "--all").stdout
    assert b"\x1b" not in text and b"\x01" not in text
    stakeout("diff", *pair, "--junit", "out.xml")
    suite = ET.parse(stakeout.folder / "out.xml").getroot().find("testsuite")
    assert suite.get("name") == 'a?[31m<&">\n?\U0001f600'
    assert "x]]>? tool_p50" in {c.get("name") for c in suite}
    assert compared(stakeout("diff", *pair, "--json"), 1)["comparisons"][0]["agent"] == name


def test_agents(stakeout, tmp_path):
    base = recording(tmp_path / "a.ndjson", agent(1, name="one"), agent(2, name="two", id=2))
    new = recording(tmp_path / "b.ndjson", agent(3, name="one"), agent(4, name="three", id=2, times=2))
    assert {c["agent"] for c in compared(stakeout("diff", base, new, "--json"))["comparisons"]} == {"one"}
    j = compared(stakeout("diff", base, new, "--agent", "two=three", "--json"), 1)
    assert {c["agent"] for c in j["comparisons"]} == {"two -> three"}
    missing = stakeout("diff", base, new, "--agent", "nobody")
    assert missing.returncode == 4 and b"nobody" in missing.stderr


def test_bad_input(stakeout, pair, tmp_path):
    (tmp_path / "text").write_text("no recording\n")
    for args, says in ([(), b"from before and after"], [pair[:1], b"two recordings, not 1"], [(*pair, pair[0]), b"two recordings, not 3"],
                       [(pair[0], "--new", pair[1]), b"not both"], [("--base", pair[0]), b"from before and after"], [("-", "-"), b"once only"],
                       [(*pair, "--limit", "cpus=3"), b"did you mean 'cpu'"], [(*pair, "--limit", "cpu=-3"), b"above 0"], [(*pair, "--limit", "cpu"), b"NAME=PERCENT"],
                       [(*pair, "--junit", "-", "--json"), b"standard output"], [(pair[0], "missing"), b"missing"], [(pair[0], "text"), b"text: "]):
        done = stakeout("diff", *args)
        assert done.returncode == 2 and says in done.stderr and not done.stdout, (args, done.stderr)
