# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The benchmark's tables are whole, its statistics right, its verdicts those of its figures. Nothing is measured."""
import itertools
import json
import math
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/bench"))
from lib import driver, scenarios, stats, table, tools  # noqa: E402

PEERS = ["runqlat", "cpudist", "cpudist -O", "offcputime", "syscount", "tcprtt", "tcpconnlat", "tcplife", "memleak", "profile", "execsnoop",
         "exitsnoop", "perf sched", "perf trace -s", "strace -c -f"]


def test_every_peer_is_in_some_scenario():
    used = {name for s in scenarios.SCENARIOS for name in s.tools}
    assert used == set(tools.BY_NAME)
    assert set(PEERS) < used
    assert sum(name.startswith("bpftrace") for name in used) >= 4


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS, ids=lambda s: s.name)
def test_scenario_row_is_whole(scenario):
    assert scenario.what and callable(scenario.measure)
    assert set(scenario.quick) <= set(scenario.tools) and (not scenario.quick or scenario.quick[0] == scenario.tools[0] == "stakeout")
    assert len(set(scenario.tools)) == len(scenario.tools)
    assert (scenario.measure in (scenarios.measure.compare, scenarios.measure.twins, scenarios.measure.siblings)) == (scenario.load is not None)


@pytest.mark.parametrize("tool", tools.TOOLS, ids=lambda t: t.name)
def test_tool_row_is_whole(tool):
    assert tool.part and tool.package
    assert tool.command.split()[0]
    assert re.compile(tool.lost).groups >= bool(tool.lost)
    assert not re.search(r"\{(?!pid\}|out\}|libc\}|\s)", tool.command), "a placeholder that nothing fills in"


def test_names_are_unique():
    for rows in (scenarios.SCENARIOS, tools.TOOLS):
        assert len({row.name for row in rows}) == len(rows)
    assert len({t.what for t in scenarios.TARGETS}) == len(scenarios.TARGETS)


def test_every_package_is_installed_by_make_bench():
    text = (ROOT / "tools/install-deps").read_text()
    installed = {line.split("|")[1].strip() for line in text.splitlines() if line.count("|") == 3 and "bench" in line.split("|")[3].split()}
    wanted = {t.package for t in tools.TOOLS if not t.own} | {"redis-server", "redis-tools", "nginx", "wrk"}
    assert wanted <= installed


def test_every_target_names_a_scenario_and_survives_missing_figures():
    assert {t.scenario for t in scenarios.TARGETS} <= set(scenarios.BY_NAME)
    judged = table.judge(scenarios.TARGETS, {name: {"stakeout": {"why": "it is not here"}} for name in scenarios.BY_NAME})
    assert [word for _, _, word in judged] == [None] * len(scenarios.TARGETS)


def figures(**more):
    return {"bpf_ns": 100.0, "cpu": (0.01, 0.0, 0.02, True), "wall": (0.01, 0.0, 0.02, True), "tool_cpu": 0.02, "rss": 2**20, "maps": 2**21, "lost": 0, "pairs": 6, **more}


def switch_results(ns):
    peers = {name: figures(bpf_ns=1000.0) for name in scenarios.SCHED}
    return {"stakeout": figures(programs={"sched__switch": [1, ns], "core__exit": [1, 1e6]}), **peers}


@pytest.mark.parametrize("ns, words", [(110, ["ok", "ok"]), (190, ["ok", "MISSED"]), (210, ["MISSED", "MISSED"])])
def test_targets_are_judged_by_their_figures(ns, words):
    targets = [t for t in scenarios.TARGETS if t.scenario == "switch"][:2]
    assert [word for _, _, word in table.judge(targets, {"switch": switch_results(ns)})] == words


def test_slowdown_target_is_of_the_middle():
    target = next(t for t in scenarios.TARGETS if t.what.startswith("redis-benchmark"))
    # A unit takes 1.03 of the time: throughput is down by 2.9 %.
    judge = lambda *wall: table.judge([target], {"redis": {"stakeout in budget": figures(wall=wall)}})[0]
    assert judge(0.03, 0.0, 0.1, True)[1][0] == pytest.approx(2.9126, abs=1e-3)
    assert judge(0.03, 0.025, 0.1, True)[2] == "MISSED" and judge(0.03, 0.0, 0.1, True)[2] == "MISSED, unsure"
    assert judge(0.019, 0.01, 0.0204, True)[2] == "ok" and judge(0.019, 0.01, 0.03, True)[2] == "ok, unsure"
    assert judge(0.01, 0.01, 0.01, False)[2] == "ok, unsure"
    assert table.measured(judge(0.03, 0.025, 0.1, True)[1], "%") == "2.91 (2.44 to 9.09) %"


def test_cheapest_peer_is_neither_ours_nor_absent():
    results = {"(none)": {"cpu": (0.0,)}, "stakeout": figures(), "stakeout +heap": figures(cpu=(0.001,)), "execsnoop": figures(cpu=(0.04,)), "exitsnoop": figures(cpu=(-0.02,)),
               "offcputime": {"why": "not here"}}
    assert scenarios.above_peers("cpu")(results) == pytest.approx(3)


def test_at_least_is_judged_the_other_way_round():
    assert stats.verdict(2.9e6, 3e6, False) == "MISSED" and stats.verdict(3e6, 3e6, False) == "ok"
    assert stats.verdict(None, 1) is None


def test_walsh_means():
    assert stats.walsh([1, 2, 4]) == [1, 1.5, 2, 2.5, 3, 4]


def test_rank_sums_against_every_way_to_sign():
    for n in range(1, 9):
        count = [0] * (n * (n + 1) // 2 + 1)
        for signs in itertools.product((0, 1), repeat=n):
            count[sum(rank for rank, positive in zip(range(1, n + 1), signs) if positive)] += 1
        assert stats.rank_sums(n) == count


@pytest.mark.parametrize("n, cut", [(5, None), (6, 0), (7, 2), (8, 3), (10, 8), (12, 13), (20, 52)])
def test_cut_is_the_table_of_wilcoxon(n, cut):
    """The critical values of any textbook, two-sided 5 %."""
    assert stats.ranks_cut(n) == cut


def test_interval_leaves_out_as_many_means_as_it_should():
    """Of 1 to 8 the means begin 1, 1.5, 2, 2, ..: three go at either end."""
    assert stats.estimate([5, 3, 1, 8, 2, 7, 6, 4]) == (4.5, 2, 7, True)


def test_interval_covers_as_often_as_it_says():
    rng = random.Random(1)
    hits = 0
    for _ in range(1000):
        values = [rng.gauss(0.3, 1) for _ in range(12)]
        _, low, high, sound = stats.estimate(values)
        assert sound
        hits += low <= 0.3 <= high
    assert 930 <= hits <= 980


def test_estimate_bears_with_one_wild_window():
    values = [0.01, 0.011, 0.009, 0.0105, 0.0095, 0.0102, 0.0098, 0.9]
    assert stats.estimate(values)[0] == pytest.approx(0.01, abs=0.001)
    assert stats.estimate([0.1, 0.2])[1:] == (0.1, 0.2, False)
    assert stats.estimate([]) is None


def test_change_is_the_ratio_to_the_windows_on_both_sides():
    middle, low, high, sound = stats.change([110] * 6, [100] * 6, [100] * 6)
    assert (middle, low, high) == pytest.approx((0.1, 0.1, 0.1)) and sound
    # A drift of the machine falls out.
    drift = [100 * 1.02 ** i for i in range(14)]
    assert stats.change([1.05 * drift[2 * i + 1] for i in range(6)], drift[0:12:2], drift[2:14:2])[0] == pytest.approx(0.05)


def test_twins_are_compared_by_blocks():
    """A cost of 1 % that comes all in one turn of ten, and a block disturbed in one of the two."""
    turns = [(100.0, 110.0 if i % 10 == 3 else 100.0) for i in range(200)]
    turns[55:58] = [(1000.0, 100.0)] * 3
    assert stats.twin_log(turns) == pytest.approx(math.log(1.01))
    assert stats.twin_log([(1.0, 1.0)] * 3) == 0


def test_net_takes_the_floor_off_each_run():
    assert stats.net({"1": (10, 1000)}, {"1": (20, 3000), "2": (5, 700)}, 100) == (15, 2700 - 1500)


@pytest.mark.parametrize("value, shown", [(None, "-"), (0, "0"), (0.004, "0.004"), (0.1, "0.10"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")])
def test_numbers(value, shown):
    assert table.number(value) == shown


@pytest.mark.parametrize("value, shown", [(0.012, "+1.20"), (-0.004, "-0.40"), (0.5, "+50.0"), (3, "x 4"), (None, "-")])
def test_percents(value, shown):
    assert table.percent(value) == shown


def test_interval_of_too_few_windows_is_marked():
    assert table.interval((0.01, 0.0, 0.02, True)) == "+1.00 (+0.00 to +2.00)"
    assert table.interval((0.01, 0.0, 0.02, False)) == "+1.00 (~+0.00 to +2.00)"


def test_tool_that_does_not_run_is_a_row_with_its_reason():
    results = {"(none)": {"unit": "switch", "rate": 1, "cpu_ns": 1}, "tcprtt": {"why": "no kprobes | here"}, "runqlat": figures(lost=None)}
    head, body = table.rows_of(results)
    assert body[0][:2] == ["tcprtt", "does not run here: no kprobes | here"] and len(body[0]) == len(head) == len(body[1])
    assert "does not say" in body[1]
    assert "no kprobes \\| here" in table.markdown(head, body)
    assert table.markdown(head, body).count("\n") == 3
    assert "no kprobes" in table.terminal(head, body)


def test_figures_are_scaled_as_their_titles_say():
    head, body = table.rows_of({"1,000 agents": {"memory": 3 * 2**20, "lost": 0, "cpu": 0.05, "hidden": 7}, "merge": {"why": "no such command"}})
    assert head == ["", "memory, MiB", "lost", "CPU time, %"] and body[0] == ["1,000 agents", "3.00", "0", "5.00"]
    assert body[1] == ["merge", "does not run here: no such command", "", ""]
    head, body = table.rows_of({"merge": {"why": "no such command"}})
    assert len(head) == len(body[0]) == 2 and "no such command" in table.terminal(head, body)


@pytest.mark.parametrize("said, why", [
    ("libbpf: failed to add legacy kprobe event for 'x': No such file\nfailed to attach", "libbpf: failed to add legacy kprobe event for 'x': No such file"),
    ("ERROR: couldn't set RLIMIT_MEMLOCK\nAttaching 1 probe...\nERROR: no kprobes: not supported", "ERROR: no kprobes: not supported"),
    ("", "it ended at once and said nothing")])
def test_reason_is_the_tools_own(said, why):
    assert tools.reason(said) == why


def test_losses_are_summed_where_they_are_told():
    assert tools.losses(tools.BY_NAME["execsnoop"], "Lost 12 events on CPU #0!\nx\nLost 3 events on CPU #1!\n") == 15
    assert tools.losses(tools.BY_NAME["bpftrace runq"], "Attaching\nLost 7 events\n") == 7
    assert tools.losses(tools.BY_NAME["runqlat"], "Lost 12 events") is None


def test_readme_gets_what_was_measured(tmp_path):
    """Of a bench.json with a tool that ran, one that did not, and a target."""
    bench = {"host": {"seconds": 1200, "cpus": 2, "kernel": "6.0", "load_at_start": [0, 1, 1], "load_at_end": [0, 2, 2]},
             "scenarios": {"switch": {"(none)": {"unit": "switch"}, "stakeout": figures(), "runqlat": figures(bpf_ns=999.0), "tcprtt": {"why": "no `kprobes`"}}},
             "targets": [["of a target", "0.1 x", "<= 0.20", "ok"]]}
    (tmp_path / "tools").mkdir()
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "tools/readme-bench").write_text((ROOT / "tools/readme-bench").read_text())
    (tmp_path / "README.md").write_text("a\n<!-- bench -->\nolden\n<!-- end of bench -->\nz\n")
    (tmp_path / "bench.json").write_text(json.dumps(bench))
    for _ in range(2):  # the second time changes nothing
        subprocess.run([sys.executable, tmp_path / "tools/readme-bench", tmp_path / "bench.json"], check=True)
        made = (tmp_path / "README.md").read_text()
        assert made.startswith("a\n<!-- bench -->\n") and made.endswith("<!-- end of bench -->\nz\n") and "olden" not in made
        assert "|  | runqlat | `runq_ns` | 999 | +1.00 (+0.00 to +2.00) | 2.00 | 3.00 | 0 |" in made
        assert "Not here: tcprtt (`no kprobes`)." in made
        assert "| of a target | 0.1 x | <= 0.20 | ok |" in made and made.count("of a target") == 1
    (tmp_path / "README.md").write_text("nothing")
    done = subprocess.run([sys.executable, tmp_path / "tools/readme-bench", tmp_path / "bench.json"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "README.md: 0 places for the benchmark's table in place of one\n"


@pytest.mark.parametrize("option, word", [("--only", "scenario"), ("--tools", "tool")])
def test_bad_name_gets_one_line(option, word, capsys):
    with pytest.raises(SystemExit) as end:
        driver.parse([option, "nonsense"], "")
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith(f"bench: no {word} 'nonsense'; there are: ") and said.count("\n") == 1


def test_list_names_everything():
    shown = subprocess.run([ROOT / "tests/bench/run", "--list"], capture_output=True, text=True, check=True).stdout
    for row in [*scenarios.SCENARIOS, *tools.TOOLS]:
        assert row.name in shown


def test_added_run_keeps_the_others(tmp_path, monkeypatch):
    """What is written comes back as it was, estimates too."""
    monkeypatch.setattr(driver.kernel, "BUILD", str(tmp_path))
    assert driver.kept() == ({}, [])
    results = {"exec": {"(none)": {"unit": "run", "rate": 1.0, "cpu_ns": 2.0}, "stakeout": figures(programs={"core__fork": [1, 2.5]}), "tcprtt": {"why": "no"}}}
    rows = [["a", "1", "ns", "<= 5", True]]
    driver.write(results, [["t", "1", "<= 2", "ok"]], scenarios.FULL, 0, (0, 0, 0), {"rows": rows, "figures": {}})
    back, parts = driver.kept()
    assert parts == rows and back["exec"]["stakeout"]["cpu"] == (0.01, 0.0, 0.02, True) and isinstance(back["exec"]["stakeout"]["cpu"], tuple)
    assert back == {"exec": {**results["exec"], "stakeout": {**results["exec"]["stakeout"], "programs": {"core__fork": [1, 2.5]}}}}
    text = (tmp_path / "bench.md").read_text()
    assert "| t | 1 | <= 2 | ok |" in text and "does not run here: no" in text and "core__fork" in text


def test_files_are_of_one_screenful_of_subjects():
    for path in (ROOT / "tests/bench").rglob("*.py"):
        assert len(path.read_text().splitlines()) < 600, path
