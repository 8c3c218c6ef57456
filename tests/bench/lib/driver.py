# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Runs scenarios, prints their tables, writes build/bench.json and build/bench.md."""
import argparse
import dataclasses
import json
import os
import platform
import sys
import time

from . import kernel, loads, table, tools
from .scenarios import BY_NAME, FULL, QUICK, SCENARIOS, TARGETS

PARTS_OF_FULL = ("switch", "sock")  # single programs, whose targets are theirs


def listed():
    print("scenarios:")
    for s in SCENARIOS:
        print(f"  {s.name:10} {s.what}\n             {', '.join(s.tools)}")
    print("tools:")
    for t in tools.TOOLS:
        print(f"  {t.name:20} {t.package:14} {t.part:40} losses: {'told' if t.own or t.lost else 'not told'}")
    print("targets:")
    for t in TARGETS:
        print(f"  {t.scenario:10} {t.what}: {'<=' if t.at_most else '>='} {table.number(t.limit)} {t.unit}")


def names(text, known, what):
    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in known:
            print(f"bench: no {what} '{name}'; there are: {', '.join(known)}", file=sys.stderr)
            sys.exit(2)
    return chosen


def parse(argv, doc):
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="some 2 minutes: fewer tools, few windows, intervals that are mere ranges")
    parser.add_argument("--only", metavar="SCENARIO,..", type=lambda t: names(t, BY_NAME, "scenario"))
    parser.add_argument("--tools", metavar="TOOL,..", type=lambda t: names(t, tools.BY_NAME, "tool"))
    parser.add_argument("--add", action="store_true", help="keep what build/bench.json has of other scenarios (with --tools: of other tools, too), and judge all of it")
    parser.add_argument("--list", action="store_true", help="what there is")
    return parser.parse_args(argv)


def chosen(args):
    """Scenarios with the tools that are asked for."""
    for s in SCENARIOS:
        if args.only and s.name not in args.only:
            continue
        mine = s.quick if args.quick and not args.tools else s.tools
        mine = tuple(t for t in mine if not args.tools or t in args.tools)
        if mine:
            yield dataclasses.replace(s, tools=mine)


def tables(scenario, results):
    """Of its figures; by program, where stakeout's are told apart."""
    out = [table.rows_of(results)]
    programs = results.get("stakeout", {}).get("programs")
    if programs:
        unit = results["(none)"]["unit"]
        out.append((["program of stakeout", f"runs / {unit}", f"ns / {unit}, above empty"],
                    [[name, table.number(runs), table.number(ns)] for name, (runs, ns) in sorted(programs.items(), key=lambda p: -p[1][1]) if ns / sum(
                        n for _, n in programs.values()) > 0.01]))
    return out


def intro(scenario, results):
    base = results.get("(none)")
    rate = f" ({table.number(base['rate'])} {base['unit']}/s, {table.number(base['cpu_ns'])} ns of CPU each)" if base and base["rate"] else ""
    return f"{scenario.name}: {scenario.what}{rate}"


def kept():
    """(scenarios, rows of the parts) of the last run; estimates are tuples again."""
    def estimates(value):
        if isinstance(value, dict):
            return {key: estimates(v) for key, v in value.items()}
        return tuple(value) if isinstance(value, list) and len(value) == 4 and isinstance(value[3], bool) else value
    try:
        with open(os.path.join(kernel.BUILD, "bench.json")) as f:
            old = json.load(f)
    except FileNotFoundError:
        return {}, []
    return estimates(old["scenarios"]), old.get("rows", [])


def write(results, targets, plan, begin, load_at_start, parts=None, several=False):
    """After each scenario, so that a run that was ended leaves what it has."""
    host = {"kernel": platform.release(), "cpus": os.cpu_count(), "load_at_start": load_at_start, "load_at_end": os.getloadavg(), "several_runs": several,
            "seconds": time.monotonic() - begin, "plan": dataclasses.asdict(plan), "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    with open(os.path.join(kernel.BUILD, "bench.json"), "w") as f:
        json.dump({"host": host, "scenarios": results, "targets": targets, **(parts or {})}, f, indent=1)
    text = [table.markdown(["target", "measured", "limit", ""], targets)]
    for name, r in sorted(results.items(), key=lambda item: list(BY_NAME).index(item[0])):
        text += [f"**{intro(BY_NAME[name], r)}**", *(table.markdown(*t) for t in tables(BY_NAME[name], r))]
    with open(os.path.join(kernel.BUILD, "bench.md"), "w") as f:
        f.write("\n\n".join(text) + "\n")


def main(argv, parts_run, doc):
    args = parse(argv, doc)
    if args.list:
        return listed()
    loads.files_unlimited()
    os.setpriority(os.PRIO_PROCESS, 0, -10)  # and of all loads and tools alike: before what else the machine does
    plan, begin = QUICK if args.quick else FULL, time.monotonic()
    results, part_rows = kept() if args.add else ({}, [])
    several = bool(results)
    load_at_start = os.getloadavg()
    for scenario in chosen(args):
        print(f"\n== {scenario.name} ({time.monotonic() - begin:.0f} s)", flush=True)
        try:
            r = scenario.measure(scenario, plan, lambda line: print("  " + line, flush=True))
        except RuntimeError as e:
            print(f"  failed: {e}", flush=True)
            results[scenario.name] = {"failed": {"why": str(e)}}
            continue
        results[scenario.name] = r = {**(results.get(scenario.name, {}) if args.tools else {}), **r}
        print(intro(scenario, r))
        for head, body in tables(scenario, r):
            print(table.terminal(head, body), flush=True)
        write(results, [], plan, begin, load_at_start, several=several)
    parts = parts_run(PARTS_OF_FULL) if not args.only and not args.tools and not args.quick else {"rows": part_rows}
    judged = table.judge([t for t in TARGETS if t.scenario in results], results)
    head, body = table.target_rows(judged)
    body += [[what, f"{value} {unit}", target, "ok" if good else "MISSED"] for what, value, unit, target, good in parts["rows"] if good is not None]
    print("\n" + table.terminal(head, body))
    write(results, body, plan, begin, load_at_start, parts, several)
    return any(row[3].startswith("MISSED") for row in body) or any("failed" in r for r in results.values())
