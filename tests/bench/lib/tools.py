# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The tools that are compared: one row each. {pid} is the process to watch; {out} a file that it may write."""
import glob
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from . import kernel
from .kernel import BUILD

READY_S = 30  # none takes this long to attach
STABLE_S = 0.15  # attached: its descriptors have not changed for so long


@dataclass(frozen=True)
class Tool:
    name: str
    command: str
    package: str  # Debian's
    part: str  # what of stakeout it gives
    lost: str = ""  # how its losses look in its output, a number in the first group; "": it does not tell

    @property
    def own(self):
        return self.package == "stakeout"


GOVERNED = "stakeout record -q --force -o {out} -p {pid}"
RECORD = GOVERNED + " --budget off"  # in full detail, whatever that costs
BPFTRACE = {
    "runq": "tracepoint:sched:sched_wakeup { @q[args->pid] = nsecs; } tracepoint:sched:sched_switch { $t = @q[args->next_pid]; "
            "if ($t) { @runq = hist(nsecs - $t); delete(@q[args->next_pid]); } }",
    "syscalls": "tracepoint:raw_syscalls:sys_enter /pid == {pid}/ { @t[tid] = nsecs; } tracepoint:raw_syscalls:sys_exit /@t[tid]/ "
                "{ @ns[args->id] = hist(nsecs - @t[tid]); delete(@t[tid]); }",
    "malloc": "uprobe:{libc}:malloc /pid == {pid}/ { @bytes = hist(arg0); }",
    "exec": "tracepoint:sched:sched_process_exec { @t[pid] = nsecs; @n[comm] = count(); } tracepoint:sched:sched_process_exit /@t[pid]/ "
            "{ @ns = hist(nsecs - @t[pid]); delete(@t[pid]); }",
    "faults": "tracepoint:exceptions:page_fault_user /pid == {pid}/ { @[comm] = count(); }",
}
PERF_LOST = r"(?i)lost (\d+)|(\d+) lost"

TOOLS = [
    Tool("stakeout", RECORD, "stakeout", "all that is on by default, in full detail"),
    Tool("stakeout in budget", GOVERNED, "stakeout", "the same with the default budget: of less detail where the load asks for it"),
    Tool("stakeout +heap", RECORD + " --probe +heap", "stakeout", "the default and the sampled heap"),
    Tool("stakeout +heap=full", RECORD + " --probe +heap=full", "stakeout", "the default and every allocation"),
    Tool("stakeout +profile", RECORD + " --probe +profile", "stakeout", "the default and CPU stacks at 49 Hz"),
    Tool("runqlat", "runqlat -p {pid}", "libbpf-tools", "`runq_ns`"),
    Tool("cpudist", "cpudist -p {pid}", "libbpf-tools", "`oncpu_ns`"),
    Tool("cpudist -O", "cpudist -O -p {pid}", "libbpf-tools", "`wait_*_ns`"),
    Tool("offcputime", "offcputime -p {pid}", "libbpf-tools", "probe `offcpu`"),
    Tool("syscount", "syscount -L -p {pid}", "libbpf-tools", "reasons of waits"),
    Tool("tcprtt", "tcprtt", "libbpf-tools", "`rtt_ns`"),
    Tool("tcpconnlat", "tcpconnlat -p {pid}", "libbpf-tools", "`connect_ns`"),
    Tool("tcplife", "tcplife -p {pid}", "libbpf-tools", "peers, bytes", r"(?i)lost (\d+)"),
    Tool("execsnoop", "execsnoop", "libbpf-tools", "tools", r"(?i)lost (\d+)"),
    Tool("exitsnoop", "exitsnoop", "libbpf-tools", "tools", r"(?i)lost (\d+)"),
    Tool("memleak", "memleak-bpfcc -p {pid} 1000", "bpfcc-tools", "`+heap=full`"),
    Tool("profile", "profile-bpfcc -p {pid}", "bpfcc-tools", "probe `profile`"),
    Tool("bpftrace runq", "bpftrace -e '" + BPFTRACE["runq"] + "'", "bpftrace", "`runq_ns`", r"Lost (\d+)"),
    Tool("bpftrace syscalls", "bpftrace -e '" + BPFTRACE["syscalls"] + "'", "bpftrace", "reasons of waits", r"Lost (\d+)"),
    Tool("bpftrace malloc", "bpftrace -e '" + BPFTRACE["malloc"] + "'", "bpftrace", "`heap_alloc_bytes`", r"Lost (\d+)"),
    Tool("bpftrace exec", "bpftrace -e '" + BPFTRACE["exec"] + "'", "bpftrace", "tools", r"Lost (\d+)"),
    Tool("bpftrace faults", "bpftrace -e '" + BPFTRACE["faults"] + "'", "bpftrace", "`faults_minor`", r"Lost (\d+)"),
    Tool("perf sched", "perf sched record -o {out} -p {pid}", "linux-perf", "sched, recorded", PERF_LOST),
    Tool("perf trace -s", "perf trace -s -p {pid}", "linux-perf", "reasons of waits", PERF_LOST),
    Tool("strace -c -f", "strace -c -f -p {pid}", "strace", "reasons of waits"),
]
BY_NAME = {t.name: t for t in TOOLS}

# bcc and libbpf-tools want tracefs and debugfs, which need not be mounted here: in a mount namespace of the tool's own.
NAMESPACE = """test -e /sys/kernel/debug/tracing/events || mount -t debugfs debugfs /sys/kernel/debug
test -e /sys/kernel/tracing/events || mount -t tracefs tracefs /sys/kernel/tracing
exec """


def headers_dir():
    """bcc compiles against the kernel's headers. Where this kernel has none, those of another version do for what the tools here read: Debian's two trees, as one of links."""
    if os.path.exists(f"/lib/modules/{platform.release()}/build"):
        return None
    trees = sorted(path for path in glob.glob("/usr/src/linux-headers-*") if os.path.exists(path + "/include/generated/autoconf.h"))
    merged = os.path.join(BUILD, "bench-headers")
    if trees and not os.path.exists(merged):
        common = re.sub(r"-[a-z0-9]+$", "-common", trees[-1])
        for tree in (common, trees[-1]):
            subprocess.run(["cp", "-rsf", tree + "/.", merged], check=True)
    return merged if trees else None


def reason(text):
    """The line of a tool's output that says why it ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "RLIMIT_MEMLOCK" not in line]
    telling = [line for line in lines if re.search(r"(?i)fail|error|unable|cannot|can't|could not|no such|not (found|supported)", line)]
    return ((telling or lines or ["it ended at once and said nothing"])[0])[:110]


def losses(tool, text):
    """Sum of what its output tells, or None where it never does."""
    if not tool.lost:
        return None
    return sum(int(next(filter(None, m.groups()), 0)) for m in re.finditer(tool.lost, text))


class NotHere(Exception):
    """The tool does not run on this machine; says why."""


class Running:
    """A tool at work on a process: attached when the constructor returns."""

    def __init__(self, tool, pid):
        self.tool, self.folder = tool, tempfile.TemporaryDirectory(prefix="bench.")
        self.out = os.path.join(self.folder.name, "out")
        command = tool.command.replace("{pid}", str(pid)).replace("{out}", self.out).replace("{libc}", kernel.libc_of(pid))
        program = command.split()[0]
        path = os.path.join(BUILD, "stakeout") if tool.own else shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if not path:
            raise NotHere(f"{program} is not installed (package {tool.package})")
        env, start = dict(os.environ), "exec " + path + command[len(program):]
        if not tool.own:
            start = NAMESPACE + start[len("exec "):]
            headers = headers_dir() if tool.package == "bpfcc-tools" else None
            env.update({"BCC_KERNEL_SOURCE": headers} if headers else {})
        self.said = open(os.path.join(self.folder.name, "said"), "w+b")
        self.begin = time.monotonic()
        self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", start] if not tool.own else ["sh", "-c", start], stdin=subprocess.DEVNULL,
                                        stdout=self.said, stderr=self.said, env=env)
        self.pid, self.watched = self.process.pid, pid
        self.attached_s = self.wait_attached()

    def header_written(self):
        try:
            with open(self.out, "rb") as f:
                return b"\n" in f.read(1 << 20)
        except FileNotFoundError:
            return False

    def wait_attached(self):
        """Seconds from start until attached. Of stakeout: its header is written, which it is once all is attached; of strace: the
        process is traced; of others: they hold programs or perf events, whose number does not change any more."""
        held, since = 0, self.begin
        while time.monotonic() < self.begin + READY_S:
            if self.process.poll() is not None:
                raise NotHere(reason(self.text()))
            now = time.monotonic()
            if self.tool.own:
                if self.header_written():
                    return now - self.begin
            elif self.tool.package == "strace":
                if kernel.tracer(self.watched) == self.pid:
                    return now - self.begin
            else:
                n = kernel.handles(self.pid)
                if n != held:
                    held, since = n, now
                elif held and now - since > STABLE_S:
                    return since - self.begin
            time.sleep(0.003)
        self.stop()
        raise NotHere(f"not attached after {READY_S} s: " + reason(self.text()))

    def text(self):
        self.said.flush()
        with open(self.said.name, errors="replace") as f:
            return f.read()

    def stop(self):
        """Ends it. Returns events lost, or None where it does not say."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:  # some stay in their own output for long
            self.process.kill()
            self.process.wait()
        lost = sum(kernel.recording(self.out)[-1]["observer"]["lost"].values()) if self.tool.own else losses(self.tool, self.text())
        self.said.close()
        self.folder.cleanup()
        return lost
