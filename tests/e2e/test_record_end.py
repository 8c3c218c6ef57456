# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The last line of `stakeout record`: how many findings and missed objectives the report of the file has."""
import json
import re

import pytest

# Eight of its ten tools fail, which is a finding, and so do its connects, an objective; it lives on until it has been watched for long enough to be judged.
CLUMSY = """
import socket, subprocess, time
closed = socket.socket()
closed.bind(("127.0.0.1", 0))
for _ in range(30):
    with socket.socket() as s:
        s.connect_ex(closed.getsockname())
end = time.monotonic() + 4
for path in ["/nonexistent"] * 8 + ["/dev/null"] * 2:
    subprocess.run(["/usr/bin/tail", "-n", "1", path], stderr=subprocess.DEVNULL)
time.sleep(end - time.monotonic())
"""


def last_line(done):
    return done.stderr.decode().splitlines()[-1]


def test_line_is_that_of_the_report(stakeout):
    done = stakeout("record", "-o", "r.ndjson", "--", "/usr/bin/python3", "-c", CLUMSY)
    assert done.returncode == 0
    report = json.loads(stakeout("report", "--json", "r.ndjson").stdout)
    severities, verdicts = [f["severity"] for f in report["findings"]], [o["verdict"] for o in report["objectives"]]
    assert "tools-failing" in {f["finding"] for f in report["findings"]} and "missed" in verdicts
    number, of, worst, missed, judged = re.fullmatch(r"stakeout: (\d+) findings?, (?:(\d+) of them )?(\w+); (\d+) of (\d+) objectives missed: stakeout report r\.ndjson", last_line(done)).groups()
    assert int(number) == len(severities) and worst == severities[0] and int(of or number) == severities.count(worst)
    assert int(missed) == verdicts.count("missed") and int(judged) == len(verdicts) - verdicts.count("no data")
    assert done.stderr.count(b"\n") == 1 and b"objectives missed" not in done.stdout


@pytest.mark.parametrize("args, said", [
    (("-o", "r.ndjson"), r"stakeout: too short for findings; (no data for objectives|\d+ of \d+ objectives missed): stakeout report r\.ndjson\n"),
    (("-o", "-"), r"stakeout: too short for findings; (no data for objectives|\d+ of \d+ objectives missed)\n"),
    (("-q", "-o", "r.ndjson"), ""), (("-q", "-o", "-"), "")])
def test_short_and_quiet(stakeout, args, said):
    done = stakeout("record", *args, "--", "/bin/true")
    assert done.returncode == 0
    assert re.fullmatch(said, done.stderr.decode()), done.stderr
    if args[-1] == "-":
        assert all(json.loads(line) for line in done.stdout.splitlines())
