# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""`stakeout report --html` in a real browser: its figures are those of `--json`, it draws, answers pointer and keys, loads nothing, and runs nothing of what a
recording says."""
import json
import os
import random
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import make_recording as make
from browser import Browser

EVIL = '</script><img src=x onerror=alert(1)><!--<script>"\'&amp;\u2028\x1b[31m'


@pytest.fixture(scope="module")
def browser():
    b = Browser()
    b.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    yield b
    b.close()


def page(stakeout, browser, agents, width=1280, scheme="light", **how):
    """Writes the recording, opens its page; returns the JSON report."""
    path = make.write(stakeout.folder / "r.ndjson", agents, **how)
    done = stakeout("report", path, "--html", "r.html", "--force")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    report = json.loads(stakeout("report", path, "--json").stdout)
    show(browser, stakeout.folder / "r.html", width, scheme)
    return report


def show(browser, path, width=1280, scheme="light"):
    browser.complaints.clear()
    browser.requests.clear()
    browser.media(scheme)
    browser.size(width)
    browser.open(Path(path).as_uri())


def clean(browser):
    """The page complained of nothing and asked for nothing but itself."""
    assert browser.complaints == []
    assert len(browser.requests) == 1 and browser.requests[0].startswith("file:///"), browser.requests


def cells(browser, table):
    """{row: {column: (raw value, text)}} of a table on the page."""
    return browser.js(f"""Object.fromEntries([...document.querySelector('[data-table="{table}"]').tBodies[0].rows].filter((r) => r.dataset.row !== undefined).map((r) =>
        [r.dataset.row, Object.fromEntries([...r.cells].map((c) => [c.dataset.k, [c.dataset.v ?? null, c.innerText.trim()]]))]))""")


UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
         "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "": 1}


def number(text):
    """What a figure for people says: "1.23 ms" is 0.00123."""
    figure, unit = re.fullmatch(r"<?([\d.]+) ?(\w*)", text).groups()
    return float(figure) * UNITS[unit]


def same(cell, want, scale=1):
    """The cell's raw value is the report's; its text says the same to three digits. scale: from the raw unit to the text's."""
    raw, text = cell
    if want is None:
        assert (raw, text) == (None, "–")
        return
    assert float(raw) == pytest.approx(want, rel=1e-12), cell
    assert number(text) == pytest.approx(want * scale, rel=0.006, abs=0.51 * scale), cell


def scale_of(metric):
    return 1e-9 if metric.endswith("_ns") else 1


def test_figures(stakeout, browser):
    """Percentiles, ledger, peers, tools, totals: those of the JSON report."""
    report = page(stakeout, browser, [make.typical(1, 60.0, 3, name="demo", **make.deep(60.0, 3))], seconds=60.0, intervals=60)
    agent = report["agents"][0]
    clean(browser)
    hists = cells(browser, "hist")
    assert set(hists) == set(agent["hist"])
    for metric, want in agent["hist"].items():
        for key in ("mean", "p50", "p90", "p95", "p99", "max", "sum"):
            same(hists[metric][key], want[key], scale_of(metric))
        same(hists[metric]["count"], want["count"])
    ledger = cells(browser, "ledger")
    for part in ("main", "threads", "critical"):
        for state in make.STATES:
            want = agent["ledger"][f"{part}_s"][state]
            if state not in ledger:
                assert want == 0
                continue
            same(ledger[state][f"{part}_s"], want)
            raw, text = ledger[state][f"{part}_share"]
            assert float(raw) == agent["ledger"][f"{part}_share"][state]
            assert text == "<0.1" and float(raw) < 0.0005 or float(text) == pytest.approx(100 * float(raw), abs=0.051)
    peers = cells(browser, "peers")
    assert len(peers) == len(agent["peers"])
    for peer in agent["peers"]:
        got, server = peers[f"{peer['side']} {peer['peer']} {peer['name']}"], peer["side"] == "server"
        time, pickup = (f"{'serve_' if server else ''}{m}" for m in (("ns" if server else "exchange_ns"), "pickup_ns"))
        quantile = lambda metric, q: peer["hist"].get(metric, {}).get(q)
        assert got["peer"][0] == (peer["name"] or peer["peer"]) and got["class"][0] == peer["class"]
        for key, want, scale in [("exchanges", peer["exchanges"], 1), ("p50", quantile(time, "p50"), 1e-9), ("p95", quantile(time, "p95"), 1e-9), ("p99", quantile(time, "p99"), 1e-9),
                                 ("ttfb_p50", None if server else quantile("ttfb_ns", "p50"), 1e-9), ("pickup_p99", quantile(pickup, "p99"), 1e-9), ("errors", peer["errors"], 1),
                                 ("sent", peer["counters"].get("sent_bytes"), 1), ("received", peer["counters"].get("received_bytes"), 1)]:
            same(got[key], want, scale)
    tools = cells(browser, "tools")
    assert set(tools) == {t["name"] for t in agent["tools"]}
    for tool in agent["tools"]:
        got = tools[tool["name"]]
        assert float(got["runs"][0]) == tool["runs"] and float(got["failed"][0]) == tool["failed"]
        same(got["cpu_s"], tool["cpu"]["user_s"] + tool["cpu"]["system_s"])
        same(got["p99"], tool["hist"]["tool_ns"]["p99"], 1e-9)
    for tile, want in [("observed_s", agent["observed_s"]), ("cpu_percent", agent["cpu"]["percent"]), ("exchanges", agent["hist"]["exchange_ns"]["count"]), ("rss_peak_bytes", agent["memory"]["rss_peak_bytes"]),
                       ("tool_runs", sum(t["runs"] for t in agent["tools"])), ("lost", 0)]:
        assert float(browser.js(f"document.querySelector('[data-tile={tile}] dd').dataset.v")) == pytest.approx(want), tile
    browser.click("section#series > details summary")
    counters = cells(browser, "counters")
    for metric, want in {**agent["counters"], **agent["gauges"]}.items():
        same(counters[metric]["value"], want, scale_of(metric))
    for key in ("cpu_s", "records", "rss_bytes", "lost_sum"):
        assert float(browser.js(f"document.querySelector('#watching [data-k={key}]').dataset.v")) == report["observer"][key]


def test_over_time(stakeout, browser):
    """Bins add up to the totals, and are what the intervals say. 650 intervals are more than there are bins."""
    known = make.typical(1, 650.0, 5, name="demo")
    page(stakeout, browser, [known], seconds=650.0, intervals=650)
    got = browser.js("""(() => { const d = JSON.parse(document.getElementById('data').textContent), t = d.agents[0].timeline, sum = (v) => v.reduce((a, b) => a + b, 0);
        return { bins: d.bins.start_s.length, intervals: sum(d.bins.intervals), end: d.bins.end_s.at(-1), exchanges: sum(t.values.exchanges), rss: t.values.rss_bytes,
          critical: Object.fromEntries(Object.entries(t.ledger.critical).map(([k, v]) => [k, sum(v)])), threads: sum(Object.values(t.ledger.threads).flat()),
          heat: Object.fromEntries(Object.entries(t.heat).map(([m, h]) => [m, [sum(h.count), sum(h.cells.flatMap((c) => c.slice(1))), h]])) }; })()""")
    assert 160 <= got["bins"] <= 320 and got["intervals"] == 650 and got["end"] == pytest.approx(650)
    assert got["exchanges"] == known.counters["exchanges"] and set(got["rss"]) == {known.gauges["rss_bytes"]}
    states = lambda of: {s: round(v / 650, 9) * 650 for s, v in of.items()}
    for state, want in states(known.critical).items():
        assert got["critical"].get(state, 0) == pytest.approx(want * 1e9, abs=1)
    assert got["threads"] == pytest.approx(sum(states(known.threads).values()) * 1e9, abs=1)
    for metric in ("exchange_ns", "ttfb_ns", "runq_ns", "tool_ns"):
        count, in_cells, heat = got["heat"][metric]
        assert count == in_cells == len(known.values[metric])
        base, per = 2 ** (2 ** -heat["scale"]), 650 / got["bins"]
        rows = {}
        for cell in heat["cells"]:
            for n, c in enumerate(cell[1:]):
                rows[cell[0] + n] = rows.get(cell[0] + n, 0) + c
        for row, c in rows.items():
            low, high = base ** (heat["offset"] + row), base ** (heat["offset"] + row + 1)
            assert c == sum(low < v <= high for v in known.values[metric]), (metric, row)
    # what is drawn: the running state covers its share of the chart
    part = browser.js("""(() => { const p = document.querySelector('[data-state="running"]').getBBox(), whole = document.querySelector('[data-chart=ledger] svg').viewBox.baseVal;
        return [p.width / (whole.width - 72), p.height / (whole.height - 30)]; })()""")
    assert part[0] == pytest.approx(1, abs=0.01) and part[1] == pytest.approx(known.critical["running"] / 650, abs=0.01)
    clean(browser)


def test_findings(stakeout, browser):
    """What is to be changed comes before all figures: each finding of the JSON report in its order, with its evidence, cost, change and exception; a name shows its agent."""
    agents = [make.typical(i, 10.0, i, name=f"agent-{i}", pid=100 + i) for i in (1, 2, 3)]
    for agent, handshake in zip(agents[1:], (4_000_000, 400_000_000)):
        for values in (agent.values, agent.peers[0]["values"]):
            values["handshake_ns"] = [handshake] * len(values["handshake_ns"])
    agents[2].peers[0].update(name=EVIL, peer=EVIL)
    report = page(stakeout, browser, agents, probes=[{"name": p, "state": "off" if p == "mem" else "on", "why": ""} for p in make.PROBES])
    clean(browser)
    assert {f["severity"] for f in report["findings"]} >= {"warning", "critical"} and {f["agent"] for f in report["findings"]} == {1, 2, 3}
    shown = browser.js("""[...document.querySelectorAll('[data-finding]')].map((f) => ({ finding: f.dataset.finding, severity: f.querySelector('.severity').innerText, title: f.querySelector('h3').textContent,
        ...Object.fromEntries([...f.querySelectorAll('dd')].map((d) => [d.dataset.k, d.textContent])), agent: +f.dataset.agent, raw: +f.querySelector('[data-k=wall_s]').dataset.v }))""")
    assert [(f["finding"], f["agent"], f["severity"], f["evidence"], f["change"], f["unless"], f["raw"]) for f in shown] == \
        [(f["finding"], f["agent"], f["severity"], f["evidence"], f["change"], f["unless"], f["cost_per_minute"]["wall_s"]) for f in report["findings"]]
    for f, want in zip(shown, report["findings"]):
        assert f["title"] == f"{want['severity']} {want['title']}" + (f": {want['subject']}" if want["subject"] else "")
        assert number(re.match(r"(.*?) of time.* a minute$", f["wall_s"])[1]) == pytest.approx(want["cost_per_minute"]["wall_s"], rel=0.006)
    skipped = {u["finding"] for u in report["findings_not_judged"] if u["agent"] == 1 and u["probe"] == "mem"}
    assert skipped and f"mem: its probe was off ({', '.join(sorted(skipped))})" in re.sub(r"\(([^)]*)\)", lambda m: f"({', '.join(sorted(m[1].split(', ')))})", browser.js("document.querySelector('.notjudged').innerText"))
    # it stands before the tiles, and the contents name it first
    assert browser.js("document.getElementById('findings').compareDocumentPosition(document.querySelector('.tiles')) & Node.DOCUMENT_POSITION_FOLLOWING")
    assert browser.js("document.querySelector('.toc a').hash") == "#findings"
    last = report["findings"][-1]["agent"]
    assert last != 1
    browser.click(f'[data-finding][data-agent="{last}"] button')
    assert browser.js("document.querySelector('h1').innerText").startswith(f"agent-{last}")
    page(stakeout, browser, [make.Agent(1)])
    assert "No findings" in browser.js("document.getElementById('findings').innerText")


def test_objectives(stakeout, browser):
    """The missed ones, since when and for how long, with the figures of the JSON report; the others when they are unfolded."""
    report = page(stakeout, browser, [make.typical(1, 60.0, 3, name="demo", cmdline=EVIL)], seconds=60.0, intervals=60)
    clean(browser)
    missed = {f"{o['rule']} {m['agent']} {m['subject']}": (o, m) for o in report["objectives"] for m in o["misses"]}
    shown = cells(browser, "objectives")
    assert missed and set(shown) == set(missed)
    for key, (rule, miss) in missed.items():
        assert [shown[key][k][0] for k in ("when", "agent", "subject")] == [rule["when"], miss["name"], miss["subject"]]
        assert [float(shown[key][k][0]) for k in ("worst", "since_s", "seconds", "times")] == [miss[k] for k in ("worst", "since_s", "seconds", "times")]
    count = lambda verdict: sum(o["verdict"] == verdict for o in report["objectives"])
    assert f"{count('missed')} missed, {count('met')} met, {count('no data')} without data." in browser.js("document.getElementById('objectives').innerText")
    browser.click("section#objectives > details summary")
    every = cells(browser, "all-objectives")
    assert {rule: row["verdict"][0] for rule, row in every.items()} == {o["rule"]: o["verdict"] for o in report["objectives"]}
    clean(browser)


def trending(seconds, name):
    """The lines of a recording of two agents: of the first the model takes twice as long from the middle on, memory grows, and one interval's queries take 32 times as long."""
    r = random.Random(5)
    agents = [make.typical(i, float(seconds), i, name=who, pid=100 + i) for i, who in ((1, name), (2, "other"))]
    agents[0].peers = [{"peer": at, "name": kind, "class": kind, "counters": {"exchanges": 30 * seconds, "connects": 4},
                        "values": {"exchange_ns": [int(r.lognormvariate(mean, 0.1)) for _ in range(30 * seconds)]}} for at, kind, mean in (("10.0.0.9:443", "llm", 17.5), ("10.0.0.5:5432", "db", 14.5))]
    longer = lambda h, doublings: {**h, "offset": h["offset"] + 32 * doublings, **{k: h[k] << doublings for k in ("sum", "min", "max")}}
    out = []
    for line in map(json.loads, make.lines(agents, seconds=float(seconds), intervals=seconds, total=False)):
        for a in line["agents"][:1] if line["kind"] == "interval" else ():
            a["gauges"] = {**a["gauges"], "rss_bytes": (100 + 2 * line["seq"]) << 20}
            for p in a["peers"]:
                slow = 1 if p["class"] == "llm" and 2 * line["seq"] >= seconds else 5 if p["class"] == "db" and line["seq"] == seconds - 20 else 0
                p["hist"] = {m: longer(h, slow) for m, h in p["hist"].items()}
        out.append(json.dumps(line) + "\n")
    return out


def test_trends(stakeout, browser):
    """What isn't steady, as the JSON report has it: verdicts, values, when it changed, which objective it will miss, odd moments; of all agents, and nothing of what is steady."""
    (stakeout.folder / "r.ndjson").write_text("".join(trending(120, EVIL)))
    (stakeout.folder / "rules.yaml").write_text("rules: [{name: grown, when: last(rss_bytes) > 400M}]\n")
    for args in (("--html", "r.html"), ("--json",)):
        done = stakeout("report", "r.ndjson", "-r", "rules.yaml", *args)
        assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    show(browser, stakeout.folder / "r.html")
    verdicts = [t["verdict"] for t in report["trends"]]
    told = {f"{t['agent']} {t['subject']} {t['measure']}": t for t in report["trends"] if t["verdict"] in ("degrading", "improving") or t["changes"] or t["odd_count"]}
    shown = cells(browser, "trends")
    assert list(shown) == list(told) and {"1 llm exchange_p50", "1  rss", "1 db exchange_p50"} <= set(told)
    for key, trend in told.items():
        assert [shown[key][k][0] for k in ("agent", "verdict")] == [str(trend["agent"]), trend["verdict"]]
        assert [float(shown[key][k][0]) for k in ("first", "last")] == [trend["first"], trend["last"]]
    how = browser.js("""Object.fromEntries([...document.querySelectorAll('[data-table=trends] [data-row]')].map((r) => [r.dataset.row, [...r.querySelectorAll('li')].map((l) => [l.dataset.t, +l.dataset.v, l.innerText])]))""")
    for key, trend in told.items():
        lines = [["change", c["at_s"]] for c in trend["changes"]] + [["slope", trend["slope_per_s"]]] * (trend["verdict"] != "steady" and not trend["changes"])
        lines += [["miss", trend["miss"]["in_s"]]] if trend["miss"] else []
        lines += [["odd", o["at_s"]] for o in trend["odd"][:3]] + [["more", trend["odd_count"] - 3]] * (trend["odd_count"] > 3)
        assert [line[:2] for line in how[key]] == lines, key
    (change,) = (text for kind, _, text in how["1 llm exchange_p50"] if kind == "change")
    at, before, after = re.fullmatch(r"at (\S+) from (.*) to (.*)", change).groups()
    assert at == "03:05:05" and number(after) / number(before) == pytest.approx(2, rel=0.02)
    (slope,) = (text for kind, _, text in how["1  rss"] if kind == "slope")
    assert slope.startswith("+120 MiB a minute (")
    (miss,) = (text for kind, _, text in how["1  rss"] if kind == "miss")
    # 100 MiB and 2 MiB a second, from the last interval on
    assert number(re.fullmatch(r"misses grown in (.*?) \(.*\)", miss)[1]) == pytest.approx((400 - 338) / 2, abs=1.1)
    assert re.fullmatch(r"odd: (.*) at 03:05:45, where .* was usual", how["1 db exchange_p50"][0][2])
    hint = browser.js("document.querySelector('#trends .hint').innerText")
    assert hint.startswith(f"{verdicts.count('degrading')} of {len(verdicts) - verdicts.count('insufficient data')} figures degrading, {verdicts.count('improving')} improving, {verdicts.count('steady')} steady;")
    assert "#trends" in browser.js("[...document.querySelectorAll('.toc a')].map((a) => a.hash)")
    clean(browser)
    browser.size(400)  # a long name in the list of agents does not widen the page
    assert browser.js("document.documentElement.scrollWidth") == 400
    page(stakeout, browser, [make.typical(1, 10.0, 3)])
    assert "Too short to tell" in browser.js("document.getElementById('trends').innerText")


def test_click_hover_keys(stakeout, browser):
    agents = [make.typical(i, 20.0, i, name=f"agent-{i}", pid=100 + i, **make.deep(20.0, i)) for i in (1, 2)]
    agents[1].ledger = agents[1].critical = {"running": 5.0, "idle": 15.0}
    report = page(stakeout, browser, agents, seconds=20.0, intervals=20)
    title = lambda: browser.js("document.querySelector('h1').innerText")
    tip = lambda: browser.js("document.getElementById('tip').hidden ? '' : document.getElementById('tip').innerText")
    # a hover: the ledger of the bin below the pointer, here from 10 s to 11 s
    browser.hover("[data-chart=ledger] svg", x=(62 + 10.5 / 20 * (browser.js("document.querySelector('[data-chart=ledger] svg').viewBox.baseVal.width") - 72)) /
                  browser.js("document.querySelector('[data-chart=ledger] svg').viewBox.baseVal.width"))
    assert "03:04:15 – 03:04:16 UTC" in tip()
    assert number(re.search(r"net\.llm\s+([\d.]+ \w+)", tip())[1]) == pytest.approx(agents[0].critical["net.llm"] / 20, rel=0.006)
    # a key: to the last bin, of all charts; a screen reader is told the same
    browser.js("document.querySelector('[data-chart=exchange_ns] svg').focus()")
    browser.key("End")
    assert "03:04:24 – 03:04:25 UTC" in tip() and "p99" in tip()
    assert browser.js("[...document.querySelectorAll('.cursor')].every((c) => c.getAttribute('visibility') === 'visible')")
    assert "p99" in browser.js("document.activeElement.getAttribute('aria-valuetext')")
    browser.key("ArrowLeft")
    assert "03:04:23 – 03:04:24 UTC" in tip()
    browser.key("Escape")
    assert tip() == ""
    # clicks: unfold a distribution, whose bars add up to the count
    browser.click('[data-table="hist"] [data-row="exchange_ns"] button')
    bars = browser.js("[...document.querySelectorAll('[data-dist=exchange_ns] rect title')].map((t) => t.textContent.split(': ')[1])")
    assert sum(map(number, bars)) == pytest.approx(report["agents"][0]["hist"]["exchange_ns"]["count"], rel=0.01)
    # sort by p99, falling
    browser.click('[data-table="peers"] thead th:nth-child(7) button')
    order = [float(v) for v in browser.js("[...document.querySelectorAll('[data-table=peers] [data-k=p99]')].map((c) => c.dataset.v).filter(Boolean)")]
    assert order == sorted(order, reverse=True) and len(order) > 3
    # a state out of the chart and back, by keyboard alone
    browser.js("document.querySelector('.legend button').focus()")
    for shown in (False, True):
        browser.key("Enter")
        assert browser.js("""!!document.querySelector('[data-chart=ledger] [data-state="running"]')""") is shown
    # the flame graph: width is time; a click zooms, the keyboard moves
    width = lambda name: browser.js(f"""(() => {{ const r = document.querySelector('.flame [data-name="{name}"] rect'); return r ? +r.getAttribute('width') / r.ownerSVGElement.viewBox.baseVal.width : 0; }})()""")
    cpu = report["agents"][0]["profiles"]["cpu_ns"]
    rank = next(f for f in cpu["functions"] if f["name"] == "rank")
    assert width("rank") == pytest.approx(rank["total"] / cpu["sum"], abs=0.005)
    browser.click('.flame [data-name="rank"]')
    assert width("rank") == pytest.approx(1) and width("dumps") == 0
    browser.js("document.querySelector('.flame').focus()")
    browser.key("Escape")
    browser.key("ArrowDown")
    assert browser.js("document.querySelector('.path').innerText").startswith("python3")
    # another ledger, another figure, another agent
    browser.click("[aria-label='Whose time'] label:nth-child(2)")
    assert "main thread" in browser.js("document.querySelector('[data-chart=ledger] h3').innerText")
    assert title().startswith("agent-1")
    browser.click('[data-table="agents"] [data-row="2"] button')
    assert title().startswith("agent-2") and browser.js("document.getElementById('agent').value") == "2"
    assert float(cells(browser, "ledger")["idle"]["critical_s"][0]) == 15
    clean(browser)


def test_keyboard_reaches_everything(stakeout, browser):
    """Tab visits what can be used, in the order of the page, and each has a name; no text is too faint for its ground, in both themes."""
    page(stakeout, browser, [make.typical(1, 10.0, 3, **make.deep(10.0, 3))])
    seen = []
    browser.js("document.body.focus()")
    for _ in range(400):
        browser.key("Tab", settle=False)
        at = browser.js("""(() => { const e = document.activeElement, all = [...document.querySelectorAll('*')]; return e === document.body ? null :
            [all.indexOf(e), (e.getAttribute('aria-label') || e.innerText || e.textContent || (e.labels && e.labels[0] && e.labels[0].innerText) || '').trim(), e.outerHTML.slice(0, 99)]; })()""")
        if at is None or (seen and at[0] == seen[0][0]):
            break
        seen.append(at)
    assert [n for n, _, _ in seen] == sorted(n for n, _, _ in seen)
    assert [tag for _, label, tag in seen if not label] == []
    assert len(seen) > 40
    for scheme in ("light", "dark"):
        browser.media(scheme)
        faint = browser.js("""(() => {
            const lum = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
            const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
            return [...document.querySelectorAll('main *, header *')].filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && e.getClientRects().length && !e.closest('.flame') && !(e instanceof SVGElement)).map((e) => {
              const a = lum(getComputedStyle(e).color), b = lum(ground(e)); return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)]; }).filter(([ratio]) => ratio < 4.5); })()""")
        assert faint == [], scheme
    clean(browser)


def test_themes_and_print(stakeout, browser):
    page(stakeout, browser, [make.typical(1, 10.0, 3, **make.deep(10.0, 3))], scheme="dark")
    dark = lambda: browser.js("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 26)"
    choose = lambda theme: browser.js(f"(() => {{ const t = document.getElementById('theme'); t.value = '{theme}'; t.dispatchEvent(new Event('change')); }})()")
    assert dark()
    choose("light")
    assert not dark()
    browser.media("light")
    choose("dark")
    assert dark()
    # on paper it is light, and what only a screen needs is gone
    browser.media("light", "print")
    assert browser.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.js("[...document.querySelectorAll('.controls, .toc, .noprint')].every((e) => getComputedStyle(e).display === 'none')")
    browser.media("light")
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF-") and 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20
    choose("")
    assert not dark()
    # on a telephone nothing sticks out
    browser.size(400)
    assert browser.js("document.documentElement.scrollWidth") == 400
    clean(browser)


def test_hostile_names(stakeout, browser):
    """What agents, tools, peers and functions call themselves is shown as text, and never runs."""
    known = make.typical(1, 10.0, 3, name=EVIL, cmdline=f"python3 {EVIL}", notes=[EVIL], tools={EVIL: {"counters": {}, "values": {"tool_ns": [5, 6]}, "ledger": {"running": 1.0}}},
                         samples={"cpu_ns": {(make.frame(EVIL, EVIL, file=EVIL), make.frame(EVIL, kind="process")): 1000}})
    known.peers[0].update(name=EVIL, peer=EVIL)
    report = page(stakeout, browser, [known, make.typical(2, 10.0, 4, name="\u202eevil")], host=EVIL)
    clean(browser)
    assert browser.js("document.querySelectorAll('img, iframe, object, link').length + document.scripts.length") == 2
    shown = browser.js("document.querySelector('h1 bdi').textContent")
    assert shown == report["agents"][0]["name"] and "<img src=x onerror=" in shown
    assert EVIL[:30] in browser.js("document.querySelector('[data-table=tools] tbody bdi').textContent")
    # whatever would get in would not run, nor load anything: the policy forbids both
    browser.js("(() => { window.refused = []; document.addEventListener('securitypolicyviolation', (e) => window.refused.push(e.effectiveDirective)); })()")
    browser.js("(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); const i = new Image(); i.src = 'http://192.0.2.1/x.png'; document.body.append(i); })()")
    browser.settle()
    assert browser.js("window.ran") is None
    assert sorted(set(browser.js("window.refused"))) == ["img-src", "script-src-elem"]


@pytest.mark.parametrize("case", ["no agents", "nothing measured", "cut off", "lost", "one interval"])
def test_odd_recordings(stakeout, browser, case):
    agents = {"no agents": [], "nothing measured": [make.Agent(1)]}.get(case, [make.typical(1, 10.0, 3)])
    page(stakeout, browser, agents, **{"cut off": {"total": False}, "lost": {"lost": {"ring_full": 70}}, "one interval": {"intervals": 1}}.get(case, {}))
    text = browser.js("document.querySelector('main').innerText")
    clean(browser)
    assert {"no agents": "No agents", "nothing measured": "observed", "cut off": "not complete", "lost": "70 events were lost", "one interval": "1 interval of"}[case] in text


def test_many_intervals_and_agents(stakeout, browser):
    """1,000 intervals of 20 agents: the page has 250 bins."""
    agents = [make.typical(i, 40.0, i, name=f"agent-{i}", peers=[], tools={}, values={"exchange_ns": [i * 1000 + n for n in range(400)]}) for i in range(1, 21)]
    lines = [json.loads(line) for line in make.lines(agents, seconds=40.0, intervals=40)]
    path = stakeout.folder / "long.ndjson"
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(lines[0]) + "\n")
        for seq in range(1000):
            f.write(json.dumps({**lines[1 + seq % 40], "seq": seq, "start_s": float(seq), "end_s": seq + 1.0}) + "\n")
    assert stakeout("report", path, "--html", "long.html").returncode == 0
    assert os.path.getsize(stakeout.folder / "long.html") < 10e6
    show(browser, stakeout.folder / "long.html")
    assert browser.js("document.querySelectorAll('[data-table=agents] tbody tr').length") == 20
    assert browser.js("JSON.parse(document.getElementById('data').textContent).bins.start_s.length") == 250
    assert [r["exchanges"][0] for r in cells(browser, "agents").values()] == [str(agents[0].counters["exchanges"] // 40 * 1000 + agents[0].counters["exchanges"] % 40 * 25)] * 20
    clean(browser)


def test_file(stakeout):
    """Whole or not there; one that is there is kept, unless --force."""
    path = make.write(stakeout.folder / "r.ndjson", [make.typical(1, 10.0, 3)])
    assert stakeout("report", path, "--html", "r.html").returncode == 0
    first = (stakeout.folder / "r.html").read_text(encoding="utf-8")
    again = stakeout("report", path, "--html", "r.html")
    assert again.returncode == 5 and again.stderr == b"stakeout: r.html is there already; --force overwrites it\n"
    (stakeout.folder / "r.html").write_text("old")
    assert stakeout("report", path, "--html", "r.html", "--force").returncode == 0
    assert (stakeout.folder / "r.html").read_text(encoding="utf-8") == first
    out = stakeout("report", path, "--html", "-")
    assert out.returncode == 0 and out.stdout.decode() == first
    full = stakeout("report", path, "--html", "/dev/full")
    assert full.returncode == 5 and full.stderr == b"stakeout: cannot write /dev/full: No space left on device\n"
    nowhere = stakeout("report", path, "--html", "no/such/folder.html")
    assert nowhere.returncode == 5 and b"no/such/folder.html" in nowhere.stderr
    two = stakeout("report", path, path, "--html", "two.html")
    both = stakeout("report", path, "--json", "--html", "two.html")
    assert (two.returncode, both.returncode) == (2, 2) and two.stderr.count(b"\n") == both.stderr.count(b"\n") == 1
    missing = stakeout("report", "missing.ndjson", "--html", "m.html")
    assert missing.returncode == 2
    assert stakeout.files() == ["r.html", "r.ndjson"]
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", first)


def test_disk_full(stakeout):
    """What does not fit leaves nothing behind."""
    path = make.write(stakeout.folder / "r.ndjson", [make.typical(1, 10.0, 3)])
    (stakeout.folder / "r.html").write_text("old")
    done = stakeout("report", path, "--html", "r.html", "--force", wrap=["bash", "-c", 'ulimit -f 64; trap "" XFSZ; exec "$@"', "bash"])
    assert done.returncode == 5 and b"r.html" in done.stderr
    assert (stakeout.folder / "r.html").read_text() == "old" and stakeout.files() == ["r.html", "r.ndjson"]


def test_a_real_run(stakeout, browser):
    """Recorded from a real process, which works, waits, and runs a tool."""
    code = "import subprocess, time\nfor _ in range(3):\n  sum(range(2000000)); time.sleep(0.1); subprocess.run(['true'])"
    done = stakeout("record", "-q", "-i", "0.1", "-o", "r.ndjson", "--name", "worker", "--", "/usr/bin/python3", "-c", code)
    assert done.returncode == 0, done.stderr
    assert stakeout("report", "r.ndjson", "--html", "r.html").returncode == 0
    agent = json.loads(stakeout("report", "r.ndjson", "--json").stdout)["agents"][0]
    show(browser, stakeout.folder / "r.html")
    clean(browser)
    assert browser.js("document.querySelector('h1 bdi').textContent") == "worker"
    same(cells(browser, "hist")["oncpu_ns"]["p99"], agent["hist"]["oncpu_ns"]["p99"], 1e-9)
    assert set(cells(browser, "tools")) == {t["name"] for t in agent["tools"]}
    drawn = browser.js("[...document.querySelectorAll('[data-state]')].map((p) => p.dataset.state)")
    assert "running" in drawn and "sleep" in drawn
