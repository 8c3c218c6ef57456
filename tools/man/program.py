# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""The commands and options of the built program, read from what it says itself (--help), so that manual and completions can't differ from it."""
import re
import subprocess
from dataclasses import dataclass, field

OPTION = re.compile(r"(--?[A-Za-z][\w-]*)(?: ((?:\[?[A-Z+][^ ,]*)(?:,[^ ]+)*))?(?=,? |$)")


@dataclass
class Option:
    names: list  # ["-p", "--pid"]
    arg: str  # "PID[,PID..]"; "": a flag
    help: str

    @property
    def optional(self):
        return self.arg.startswith("[")


@dataclass
class Command:
    name: str
    summary: str  # what the list of commands says
    usage: str = ""
    about: list = field(default_factory=list)  # paragraphs before the options
    options: list = field(default_factory=list)
    lists: dict = field(default_factory=dict)  # heading: [(name, help)], such as the probes
    notes: list = field(default_factory=list)  # paragraphs after them

    def values(self, option):
        """Words that an option takes, where the help lists them."""
        heading = {"--probe": "Probes", "--hist": "Histograms", "--folded": "Samples"}.get(option.names[-1])
        found = next((rows for name, rows in self.lists.items() if heading and name.startswith(heading)), [])
        return [name for name, _ in found]


def split_option(line):
    """The options that a row of the help describes, and the rest of the row: "-p, --pid PID  text", or two at once: "--from S, --to S  text"."""
    names, rest = [], line.strip()
    while match := OPTION.match(rest):
        names.append((match[1], match[2] or ""))
        rest = rest[match.end():]
        if not rest.startswith(", -"):
            break
        rest = rest[2:]
    if len(names) == 2 and not (len(names[0][0]) == 2 and names[1][0].startswith("--")):
        return [([name], arg) for name, arg in names], rest.strip()
    return [([name for name, _ in names], names[-1][1])] if names else [], rest.strip()


def parse(command, text):
    """Fills a command from its help."""
    lines = text.splitlines()
    blocks, last = [[]], None
    for line in lines:
        if line.strip():
            blocks[-1].append(line)
        else:
            blocks.append([])
    for block in filter(None, blocks):
        if block[0].startswith("Usage: "):
            command.usage = " ".join(" ".join(block)[len("Usage: "):].split())
        elif block[0].endswith(":") and len(block) > 1:
            rows = command.lists.setdefault(block[0][:-1], [])
            for line in block[1:]:
                if re.match(r"  ?\S", line):
                    name, _, rest = line.strip().partition(" ")
                    rest = re.sub(r"^(on|off) {2,}", r"\1 by default: ", rest.strip())  # a column of its own
                    rows.append((name, " ".join(rest.split())))
                elif rows:
                    rows[-1] = (rows[-1][0], f"{rows[-1][1]} {line.strip()}")
        elif any(re.match(r" {2,6}-", line) for line in block):
            for line in block:
                if re.match(r" {2,6}-", line):
                    found, rest = split_option(line)
                    last = [Option(names, arg, rest) for names, arg in found]
                    if not last and line.strip().startswith("-- "):  # the command to start
                        head, _, rest = line.strip().partition("  ")
                        last = [Option(["--"], head[3:], rest.strip())]
                    if not last:
                        raise SystemExit(f"stakeout {command.name} --help: can't read {line!r}")
                    command.options += last
                elif last:
                    for option in last:
                        option.help = f"{option.help} {line.strip()}".strip()
                else:
                    command.about.append(" ".join(line.split()))
        else:
            (command.notes if command.options else command.about).append(" ".join(" ".join(block).split()))
    return command


def commands(program):
    """All commands of the program, in its order."""
    def help_of(*args):
        done = subprocess.run([program, *args, "--help"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f"{program} {' '.join(args)} --help: status {done.returncode}: {done.stderr}")
        return done.stdout
    rows = re.findall(r"^  ([a-z]+) +(\S.*)$", help_of(), re.M)
    if not rows:
        raise SystemExit(f"{program} --help lists no commands")
    return [parse(Command(name, summary), help_of(name)) for name, summary in rows]
