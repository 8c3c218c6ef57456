# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""Whatever is wrong with what the user asks for: one clear line on stderr, the right exit status, nothing half-written."""
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import STAKEOUT

USAGE, DENIED, NO_TARGET, OUTPUT = 2, 3, 4, 5
PID_MAX = int(Path("/proc/sys/kernel/pid_max").read_text())


def refused(done, status, pattern):
    """The run ended with this status and said why in one line that has this in it."""
    text = done.stderr.decode()
    assert done.returncode == status, text
    assert text.endswith("\n") and text.count("\n") == 1, text
    assert text.startswith("stakeout: "), text
    assert re.search(pattern, text), text
    assert done.stdout == b""


@pytest.fixture
def check(stakeout):
    """Runs `stakeout ARGS`, expects the refusal, and that no file came or went."""
    def run(args, status, pattern, **kwargs):
        before = stakeout.files()
        refused(stakeout(*args, **kwargs), status, pattern)
        assert stakeout.files() == before
    return run


@pytest.mark.parametrize("args, pattern", [
    ([], "no command given; commands: record, .*report"),
    (["recrod"], "unknown command 'recrod' .did you mean 'record'.*commands: record, .*report"),
    (["--frobnicate"], "unknown option '--frobnicate'"),
    (["doctor", "--all"], "doctor takes no arguments, not '--all'"),
])
def test_command(check, args, pattern):
    check(args, USAGE, pattern)


@pytest.mark.parametrize("args, pattern", [
    (["--froce"], "unknown option '--froce' .did you mean '--force'"),
    (["-z"], "unknown option '-z'"),
    (["-qz"], "unknown option '-qz'"),
    (["--force=yes"], "--force takes no value"),
    (["-d"], "-d needs a value"),
    (["-d", "soon"], "'soon' is not a number"),
    (["-d", "-3"], "-3 is out of range: 0.1 to"),
    (["-d", "0"], "out of range"),
    (["-d", "nan"], "not a number"),
    (["-i", "0.01"], "0.01 is out of range: 0.1 to 3600"),
    (["-i", "1s"], "'1s' is not a number"),
    (["--budget", "x"], r"--budget x is not a number \(percent from 0 to 100, or 'off'\)"),
    (["--budget", "-1"], "--budget -1 is out of range"),
    (["--budget", "100.5"], "out of range .percent from 0 to 100"),
    (["--budget", ""], "not a number"),
    (["--budget", "nan"], "not a number"),
    (["--budget"], "--budget needs a value: --budget PERCENT"),
    (["--drain", "0"], "out of range: 1 to 1000"),
    (["--drain", "2000"], "out of range: 1 to 1000"),
    (["--ring-size", "3M"], "3M is not a power of two"),
    (["--ring-size", "1000000"], "not a power of two"),
    (["--ring-size", "32K"], "out of range: 64K to"),
    (["--ring-size", "2G"], "out of range: 64K to"),
    (["--ring-size", "99999999999999999999G"], "out of range"),
    (["--ring-size", "0"], "out of range"),
    (["--ring-size", "-8M"], "out of range"),
    (["--ring-size", "8MB"], "not a size"),
    (["--ring-size", "big"], "not a size"),
    (["--ring-size", ""], "not a size"),
    (["--probe", "+shed"], "unknown probe 'shed' .did you mean 'sched'.*probes: sched, proc, mem, peak, sock, names, dup, kmem"),
    (["--probe", "-mem,+"], "unknown probe ''.*probes: sched"),
    (["--probe", ""], "unknown probe ''.*probes: sched"),
    (["--probe", "-core"], "'core' can't be switched off"),
    (["--probe", "mem\nsock"], r"unknown probe 'mem\?sock'"),
    (["--peer"], "--peer needs a value: --peer HOST"),
    (["--peer", ""], r"--peer '': no class; it takes HOST\[:PORT\]=CLASS\[/NAME\]"),
    (["--peer", "10.0.0.5:8000"], r"--peer '10.0.0.5:8000': no class; it takes HOST\[:PORT\]=CLASS\[/NAME\]"),
    (["--peer", "h=lmm"], "unknown class 'lmm'; classes: llm, db, cache, vector, http, other .did you mean 'llm'"),
    (["--peer", "h=vectors/x"], "unknown class 'vectors'; .*did you mean 'vector'"),
    (["--peer", "h=postgresql"], "unknown class 'postgresql'; classes: llm, db, cache, vector, http, other$"),
    (["--peer", "h="], "unknown class ''"),
    (["--peer", "=db"], "no peer before the ="),
    (["--peer", "h:0=db"], "port '0' is not a number from 1 to 65535"),
    (["--peer", "h:http=db"], "port 'http' is not a number"),
    (["--peer", "::1=db"], r"an IPv6 address stands in brackets: \[::1\] or \[::1\]:8000"),
    (["--peer", "[::1]80=db"], "behind an address in brackets comes :PORT or nothing"),
    (["--peer", "h=db/"], "the name behind the / has 1 to 253 bytes"),
    (["--peer", "h=db/a\x1b[2Jb"], r"'h=db/a\?\[2Jb': control characters"),
    (["--peer", "a b=db"], "a host has printable ASCII characters"),
    (["--peer", "h=db", "--peer", "h=xyz"], "unknown class 'xyz'"),
    (["--peer", "h" * 5000], "no class"),
    (["--peers", "0"], "--peers 0 is out of range: 1 to 1000"),
    (["--peers", "1001"], "out of range: 1 to 1000"),
    (["--peers", "2.5"], "--peers '2.5' is not a whole number"),
    (["--peers", "few"], "--peers 'few' is not a whole number"),
    (["--no-names=yes"], "--no-names takes no value"),
    (["--no-name"], "unknown option '--no-name' .did you mean '--no-names'"),
    (["-o", ""], "--output needs FILE"),
    (["--name", ""], "--name needs NAME"),
    (["extra"], "unexpected argument 'extra'.*behind --"),
    (["-"], "unexpected argument '-'"),
    (["--", "true"], "can't be combined with -p, -n, --cgroup or --container"),
    (["--"], "no command after --"),
])
def test_option(check, sleeper, args, pattern):
    check(["record", "-p", sleeper.pid, *args], USAGE, pattern)


@pytest.mark.parametrize("pids, pattern", [
    ("abc", "pid 'abc' is not a number"),
    ("12x", "pid '12x' is not a number"),
    ("", "pid '' is not a number"),
    ("1,,2", "pid '' is not a number"),
    ("1,", "pid '' is not a number"),
    ("1.5", "pid '1.5' is not a number"),
    ("0", "pid 0 is out of range"),
    ("-1", "pid -1 is out of range"),
    ("99999999999999999999", "out of range"),
    ("9" * 50, "not a number"),
])
def test_pid_not_a_pid(check, pids, pattern):
    check(["record", "-p", pids], USAGE, pattern)


def test_too_many_pids(check):
    check(["record", "-p", ",".join(["1"] * 1001)], USAGE, "at most 1000 agents")


def test_no_target(check):
    check(["record", "-q"], USAGE, "no target: .*-p PID, -n REGEX, --cgroup PATH, --container ID or -- COMMAND")


def test_pid_does_not_exist(check, agents):
    gone = agents("true")
    gone.wait()
    check(["record", "-p", gone.pid], NO_TARGET, f"no process with pid {gone.pid}")
    check(["record", "-p", PID_MAX], NO_TARGET, f"no process with pid {PID_MAX}")


def test_one_of_several_pids_does_not_exist(check, sleeper):
    check(["record", "-p", f"{sleeper.pid},{PID_MAX}"], NO_TARGET, f"no process with pid {PID_MAX}")


def test_zombie(check, agents):
    zombie = agents("true")
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    check(["record", "-p", zombie.pid], NO_TARGET, "has ended")


def test_thread_of_a_process(check, agents):
    p = agents("/usr/bin/python3", "-c", "import threading as t; x = t.Event(); t.Thread(target=x.wait).start(); print(1, flush=True); "
               "x.wait()", stdout=subprocess.PIPE)
    p.stdout.readline()
    tid = next(t for t in map(int, os.listdir(f"/proc/{p.pid}/task")) if t != p.pid)
    check(["record", "-p", tid], NO_TARGET, f"{tid} is a thread of process {p.pid}")


def kernel_thread():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[6]) & 0x200000:
                return pid
        except OSError:
            pass
    pytest.skip("kernel: no kernel thread is visible in this pid namespace")


def test_kernel_thread(check):
    pid = kernel_thread()
    check(["record", "-p", pid], NO_TARGET, f"pid {pid} .* is a kernel thread")


def test_own_pid(stakeout):
    done = subprocess.run(["sh", "-c", 'exec "$0" record -p $$', stakeout.path], cwd=stakeout.folder, capture_output=True)
    refused(done, NO_TARGET, "is stakeout itself")
    assert stakeout.files() == []


@pytest.mark.parametrize("regex", ["(", "[a", "a{2,1}", "*{", "\\"])
def test_bad_regex(check, regex):
    check(["record", "-n", regex], USAGE, f"bad regular expression '{re.escape(regex)}': ")


def test_empty_regex(check):
    check(["record", "-n", ""], USAGE, "--match needs REGEX")


@pytest.mark.parametrize("path", ["/tmp", "/nosuch/group", "../../../etc", "..", "/sys/fs/cgroup/../../../etc"])
def test_cgroup_outside_the_hierarchy(check, path):
    check(["record", "--cgroup", path], USAGE, f"cgroup {re.escape(path)} is outside the hierarchy; give a directory below /")


def test_cgroup_does_not_exist(check):
    check(["record", "--cgroup", "no-such-group"], NO_TARGET, "no cgroup no-such-group; give a directory below /")


def test_cgroup_is_a_file(check):
    check(["record", "--cgroup", "cgroup.procs"], NO_TARGET, "no cgroup cgroup.procs")


def test_command_not_found(check):
    check(["record", "--", "no-such-command"], NO_TARGET, "no-such-command")
    check(["record", "--", "./no-such-command"], NO_TARGET, "no-such-command")
    check(["record", "--", ""], NO_TARGET, "")


def test_command_not_executable(check, stakeout):
    (stakeout.folder / "plain").write_text("text")
    check(["record", "--", "./plain"], NO_TARGET, "plain.*[Pp]ermission denied")
    check(["record", "--", stakeout.folder], NO_TARGET, "[Pp]ermission denied")


def test_command_whose_interpreter_is_missing(check, stakeout):
    script = stakeout.folder / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    check(["record", "-q", "-o", "out", "--", "./script"], NO_TARGET, "script")


def test_output_directory_missing(check, sleeper):
    check(["record", "-d", "0.1", "-o", "missing/out.ndjson", "-p", sleeper.pid], OUTPUT, "missing/out.ndjson.*No such file")


def test_output_is_a_directory(check, sleeper, stakeout):
    (stakeout.folder / "dir").mkdir()
    for force in [], ["--force"]:
        check(["record", "-d", "0.1", "-o", "dir", "-p", sleeper.pid, *force], OUTPUT, "dir")


def test_output_below_a_file(check, sleeper, stakeout):
    (stakeout.folder / "file").write_text("mine")
    check(["record", "-d", "0.1", "-o", "file/out", "-p", sleeper.pid], OUTPUT, "file/out.*Not a directory")


def test_output_exists(check, sleeper, stakeout):
    out = stakeout.folder / "out.ndjson"
    out.write_text("mine")
    check(["record", "-d", "0.1", "-o", "out.ndjson", "-p", sleeper.pid], OUTPUT, "out.ndjson.*--force")
    assert out.read_text() == "mine"


def test_bad_target_does_not_touch_the_output(check, stakeout):
    out = stakeout.folder / "out.ndjson"
    out.write_text("mine")
    check(["record", "--force", "-o", "out.ndjson", "-p", PID_MAX], NO_TARGET, "no process")
    check(["record", "--force", "-o", "out.ndjson", "--", "no-such-command"], NO_TARGET, "no-such-command")
    assert out.read_text() == "mine"


def test_command_does_not_run_when_the_output_is_refused(check, stakeout):
    check(["record", "-o", "missing/out", "--", "touch", "ran"], OUTPUT, "missing/out")
    assert not (stakeout.folder / "ran").exists()


@pytest.fixture
def disk(stakeout):
    """Mounts a small file system on the test's directory; returns a function of the mount options."""
    def mount(options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", stakeout.folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"can't mount: {done.stderr.strip()}")
        return stakeout.folder
    yield mount
    while os.path.ismount(stakeout.folder):
        subprocess.run(["umount", "-l", stakeout.folder], check=True)


def test_output_not_writable(check, sleeper, disk):
    disk("ro")
    check(["record", "-d", "0.1", "-o", "out.ndjson", "-p", sleeper.pid], OUTPUT, "out.ndjson.*Read-only")
    check(["record", "-d", "0.1", "-p", sleeper.pid], OUTPUT, "stakeout-.*ndjson.*Read-only")


@pytest.mark.parametrize("name", ["out.ndjson", "out.ndjson.gz"])
def test_disk_full_from_the_start(check, sleeper, disk, name):
    folder = disk("size=64k")
    with pytest.raises(OSError), open(folder / "filler", "wb", buffering=0) as f:
        while True:
            f.write(bytes(4096))
    check(["record", "-q", "-d", "0.3", "-o", name, "-p", sleeper.pid], OUTPUT, f"{name}.*No space left")


def test_disk_full_later(stakeout, agents, disk):
    """What was written before stays readable: whole lines."""
    folder = disk("size=64k")
    busy = agents("sh", "-c", "while :; do /bin/true; done")
    done = stakeout("record", "-q", "-d", "60", "-i", "0.1", "-o", "out.ndjson", "-p", busy.pid)
    refused(done, OUTPUT, "out.ndjson.*No space left")
    report = stakeout("report", folder / "out.ndjson")
    assert report.returncode == 0, report.stderr


def test_standard_output_closed(stakeout, sleeper):
    done = subprocess.run(["sh", "-c", f'exec "$0" record -q -d 0.3 -o - -p {sleeper.pid} >/dev/full', stakeout.path],
                          cwd=stakeout.folder, capture_output=True)
    refused(done, OUTPUT, "No space left")


@pytest.fixture
def open_folder(stakeout):
    """A copy of the program and a directory that anybody may use: pytest's own are root's only."""
    folder = Path(tempfile.mkdtemp(prefix="stakeout-"))
    folder.chmod(0o777)
    program = Path(shutil.copy(stakeout.path, folder / "stakeout"))
    program.chmod(program.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    stakeout.path, stakeout.folder = str(program), folder
    yield folder
    shutil.rmtree(folder)


NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


def test_not_root(check, sleeper, open_folder):
    check(["record", "-d", "0.1", "-o", "out", "-p", sleeper.pid], DENIED, "not root|run as root", wrap=NOBODY)
    check(["record", "-o", "out", "--", "touch", "ran"], DENIED, "not root|run as root", wrap=NOBODY)


def test_doctor_not_root(stakeout, open_folder):
    done = stakeout("doctor", wrap=NOBODY)
    assert done.returncode == DENIED and done.stderr == b""
    assert re.search("^Recording is impossible here: not root", done.stdout.decode(), re.M)


NO_BTF = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$@"', "sh"]


def test_kernel_without_btf(check, sleeper):
    check(["record", "-d", "0.1", "-o", "out", "-p", sleeper.pid], DENIED, "/sys/kernel/btf/vmlinux.*CONFIG_DEBUG_INFO_BTF",
          wrap=NO_BTF)


def test_doctor_without_btf(stakeout):
    done = stakeout("doctor", wrap=NO_BTF)
    assert done.returncode == DENIED and done.stderr == b""
    text = done.stdout.decode()
    assert re.search("^Recording is impossible here: /sys/kernel/btf/vmlinux", text, re.M)
    assert re.search(r"^ +kernel BTF +missing", text, re.M)
    assert re.search(r"^ +tp_btf/sched_switch +no$", text, re.M)


def test_doctor_here(stakeout):
    """Recording works here, as the other tests show: the doctor must agree, and know every hook that programs use."""
    done = stakeout("doctor")
    text = done.stdout.decode()
    assert done.returncode == 0 and done.stderr == b"", text
    assert "Recording is possible" in text
    source = Path(__file__).resolve().parents[2] / "bpf"
    hooks = set(re.findall(r'SEC\("\?((?:tp_btf|iter)/\w+)"\)', "".join(p.read_text() for p in source.glob("*.bpf.c"))))
    assert hooks, "no programs found"
    assert not [h for h in hooks if not re.search(rf"^ +{h} ", text, re.M)]
    heap = re.search(r"^  heap +available, .*\n((?:    .*\n)*)", text, re.M)
    assert re.search(r"^    hardware breakpoints +(yes|no: without it, no sampling)", heap[1], re.M), text
    assert re.search(r"^    uprobe +yes$", heap[1], re.M), text


def test_doctor_tells_what_events_cost(stakeout):
    """Of what is watched, and of what is not, which pays next to nothing; and its load is gone afterwards."""
    text = stakeout("doctor").stdout.decode()
    assert not subprocess.run(["pgrep", "-f", f"^{STAKEOUT} doctor"], capture_output=True, text=True).stdout
    costs = re.findall(r"^  (\w+) +(\w.*?) +(\d+) +(\d+)$", text.partition("What an event costs here")[2], re.M)
    assert {probe for probe, *_ in costs} == {"sched", "core", "mem", "peak", "sock", "names", "kmem"}, text
    for probe, event, agent, stranger in costs:
        if probe != "names":  # looks at every connection of the machine
            assert int(agent) > 2 * int(stranger), (probe, event, text)
