# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Tables of what was measured: for the terminal, and as Markdown. Pure."""
from .stats import verdict


def number(value):
    """Three figures, with thousands separated; "-" where there is none."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    digits = abs(value)
    return f"{value:,.0f}" if digits >= 100 else f"{value:.1f}" if digits >= 10 else f"{value:.2f}" if digits >= 0.095 else f"{value:.2g}"


def percent(value):
    """A share with its sign, from 0.02 for 2 %; beyond double, as a factor."""
    if value is None:
        return "-"
    return f"x {1 + value:.3g}" if value > 1 else f"{100 * value:+.1f}" if abs(value) >= 0.0995 else f"{100 * value:+.2f}"


def interval(change):
    """"+1.20 (+0.90 to +1.50)" of an estimate; "~" before an interval that is but the range of too few windows."""
    if not change:
        return "-"
    middle, low, high, sound = change
    return f"{percent(middle)} ({'' if sound else '~'}{percent(low)} to {percent(high)})"


def mib(value):
    return number(value / 2**20) if value else "-"


def lost(value):
    return "does not say" if value is None else number(value)


def shown(value, scale):
    return interval(value) if isinstance(value, tuple) else str(value) if isinstance(value, int) and scale == 1 and value < 1000 else number(
        None if value is None else value * scale)


COMPARE = [("tool", lambda name, r: name), ("BPF ns / {unit}", lambda name, r: number(r["bpf_ns"])), ("CPU time / {unit}, %", lambda name, r: interval(r["cpu"])),
           ("wall-clock time / {unit}, %", lambda name, r: interval(r["wall"])), ("CPU of the tool, %", lambda name, r: number(100 * r["tool_cpu"])),
           ("RSS + maps, MiB", lambda name, r: f"{mib(r['rss'])} + {mib(r['maps'])}"), ("lost", lambda name, r: lost(r["lost"])),
           ("pairs", lambda name, r: str(r["pairs"]))]


# Figures of what is not compared window by window: title, and by what to multiply.
FIGURES = {
    "cpu": ("CPU time, %", 100), "wall": ("wall-clock time, %", 100), "pairs": ("pairs", 1), "bpf_ns": ("BPF ns / record, above empty", 1), "collector_ns": ("collector ns / record", 1),
    "tool_cpu": ("CPU of the tool, %", 100), "rate": ("records/s", 1), "memory": ("memory, MiB", 2**-20), "maps": ("of it BPF maps", 2**-20), "lost": ("lost", 1), "seen": ("seen", 1),
    "received": ("received", 1), "unaccounted": ("not accounted for", 1), "per_core": ("records/s, one core", 1), "attached_s": ("attached, s", 1),
    "interval_s": ("first interval, s", 1), "mb_s": ("MB/s", 1), "wakeups_s": ("wake-ups/s", 1), "day_s": ("CPU s a day", 1),
}


def rows_of(results):
    """(head, body) of a scenario's results. Rows of different figures make a table of all; one that could not be had has its reason in the second column."""
    base = results.get("(none)")
    if base:
        head = [title.format(unit=base["unit"]) for title, _ in COMPARE]
        columns = COMPARE
    else:
        keys = list(dict.fromkeys(key for r in results.values() if "why" not in r for key in r if key in FIGURES))
        head = ["", *([FIGURES[key][0] for key in keys] or [""])]
        columns = [("", lambda name, r: name)] + [(key, lambda name, r, key=key: shown(r.get(key), FIGURES[key][1])) for key in keys]
    body = []
    for name, r in results.items():
        if name == "(none)":
            continue
        body.append([name, "does not run here: " + r["why"], *[""] * (len(head) - 2)] if "why" in r else [cell(name, r) for _, cell in columns])
    return head, body


def markdown(head, body):
    clean = [[cell.replace("|", "\\|") for cell in row] for row in body]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---", *["---:"] * (len(head) - 1)], *clean])


def terminal(head, body):
    """Columns by width; the long reason of a row stretches none."""
    plain = [row for row in [head, *body] if not row[1].startswith("does not run")]
    widths = [max(len(row[i]) for row in plain) for i in range(len(head))]
    widths[0] = max(widths[0], *(len(row[0]) for row in body)) if body else widths[0]
    line = lambda row: "  " + row[0].ljust(widths[0]) + "  " + (row[1] if row[1].startswith("does not run") else "  ".join(c.rjust(w) for c, w in zip(row[1:], widths[1:])))
    return "\n".join(line(row).rstrip() for row in [head, *body])


def judge(targets, results):
    """[(target, value, verdict)]; a value may be an estimate with its interval. The verdict is None where the scenario did not run or lacks a figure."""
    rows = []
    for t in targets:
        try:
            value = t.value(results[t.scenario])
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            value = None
        rows.append((t, value, verdict(value, t.limit, t.at_most)))
    return rows


def measured(value, unit):
    if isinstance(value, tuple):
        return f"{number(value[0])} ({'' if value[3] else '~'}{number(value[1])} to {number(value[2])}) {unit}"
    return f"{number(value)} {unit}".strip()


def target_rows(judged):
    body = [[t.what, measured(value, t.unit), f"{'<=' if t.at_most else '>='} {number(t.limit)}", word or "not measured"] for t, value, word in judged]
    return ["target", "measured", "limit", ""], body
