# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""What `make install` and `make deb` put in place: it comes and goes whole, the manual says what the program says, completions complete in real shells."""
import os
import pty
import re
import select
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import HANG_S

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("O") or ROOT / "build").resolve()
PROGRAM = BUILD / "stakeout"


def run(*argv, status=0, **kwargs):
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=HANG_S, **kwargs)
    assert status is None or done.returncode == status, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def make(target, *settings):
    return run("make", "-s", "--no-print-directory", f"O={BUILD}", target, *settings, cwd=ROOT)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    where = tmp_path_factory.mktemp("installed")
    make("install", f"DESTDIR={where}", "prefix=/opt/it")
    return where


@pytest.fixture(scope="module", autouse=True)
def packaging(request, installed, tmp_path_factory):
    """The package, and what lintian says of it, as futures: both take seconds, in which other tests run. None where no test asks for a package."""
    if not any(item.module is request.module and "package" in item.fixturenames for item in request.session.items):
        yield None
        return

    def built():
        make("deb")
        (path,) = (BUILD / "deb").glob("*.deb")
        return Path(shutil.copy(path, tmp_path_factory.mktemp("package")))
    with ThreadPoolExecutor() as pool:
        package = pool.submit(built)
        yield package, pool.submit(lambda: run("lintian", "--fail-on", "none", package.result()))


@pytest.fixture(scope="module")
def commands():
    return re.findall(r"^  ([a-z]+) ", run(PROGRAM, "--help"), re.M)


def test_install_and_uninstall(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "prefix=/opt/it")
    there = files(tmp_path)
    assert {"opt/it/bin/stakeout", "opt/it/share/man/man1/stakeout.1", "opt/it/share/man/man5/stakeout.yaml.5", "opt/it/share/man/man5/stakeout-rules.5",
            "opt/it/share/stakeout/rules/default.yaml",
            "opt/it/share/bash-completion/completions/stakeout", "opt/it/share/zsh/site-functions/_stakeout",
            "opt/it/share/fish/vendor_completions.d/stakeout.fish", "opt/it/share/doc/stakeout/README.md"} <= set(there)
    assert all(path.startswith(("opt/it/", "etc/stakeout/")) for path in there)
    version = re.search(r'STAKEOUT_VERSION "(.*)"', (ROOT / "include/version.h").read_text())[1]
    assert run(tmp_path / "opt/it/bin/stakeout", "--version") == f"stakeout {version}\n"
    for unit in (tmp_path / "opt/it/lib/systemd/system").glob("*.service"):
        assert "/opt/it/bin/stakeout" in unit.read_text() and "/usr/local" not in unit.read_text()
    make("uninstall", f"DESTDIR={tmp_path}", "prefix=/opt/it")
    assert files(tmp_path) == []


def test_changed_configuration_is_kept(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "prefix=/opt/it")
    config = tmp_path / "etc/stakeout/stakeout.yaml"
    if not (ROOT / "tools/systemd/stakeout.yaml").exists():
        assert not config.exists()
        return
    config.write_text("# mine\n")
    make("install", f"DESTDIR={tmp_path}", "prefix=/opt/it")
    make("uninstall", f"DESTDIR={tmp_path}", "prefix=/opt/it")
    assert files(tmp_path) == ["etc/stakeout/stakeout.yaml"] and config.read_text() == "# mine\n"


# --- the manual ---


def page(installed, name):
    text = run("mandoc", "-Tascii", "-Owidth=200", installed / "opt/it/share/man" / f"man{name[-1]}" / name)
    return re.sub(".\b", "", text)  # overstrikes


def test_manual_has_all_that_help_has(installed, commands):
    """Every option and every listed word of each --help, in the section of its command."""
    text = page(installed, "stakeout.1")
    for command in commands:
        section = text.split(f"\n   stakeout {command}\n", 1)[1]
        section = re.split(r"\n   stakeout \w+\n|\n[A-Z]", section, maxsplit=1)[0]
        told = run(PROGRAM, command, "--help")
        for row in re.findall(r"^ {2,6}(-.*)", told, re.M):
            for option in re.findall(r"(?:^|, )(--?[a-zA-Z][\w-]*)", row):
                assert re.search(rf"^ +(?:.*, )?{re.escape(option)}(?=[ ,]|$)", section, re.M), f"stakeout {command} {option}"
        for name in re.findall(r"^  ([a-z_]+) ", told, re.M):
            assert re.search(rf"^ +{name}\b", section, re.M), f"stakeout {command}: {name}"


def test_manual_tells_the_cost_of_each_probe(installed):
    text = page(installed, "stakeout.1").split("\nOVERHEAD\n")[1].split("\nENVIRONMENT\n")[0]
    probes = re.findall(r'^PROBE\(\w+, *"(\w+)"', (ROOT / "include/probes.def").read_text(), re.M)
    assert len(probes) > 5
    assert [p for p in probes if p != "core" and not re.search(rf"^ +{p} ", text, re.M)] == []
    # Figures are the README's, none of its own.
    readme = (ROOT / "README.md").read_text()
    assert [n for n in re.findall(r"\d[\d.,]*\d", text) if n not in readme] == []


def test_manual_has_each_key_of_the_configuration(installed):
    text = page(installed, "stakeout.yaml.5")
    keys = re.findall(r"^KEY_\w+\((\w+),", (ROOT / "user/serve/config.def").read_text(), re.M)
    assert len(keys) > 20
    assert [key for key in keys if not re.search(rf"^ +{key}: ", text, re.M)] == []


def test_example_configuration_is_good(installed, tmp_path):
    """That of the page, as the daemon reads it."""
    text = page(installed, "stakeout.yaml.5").split("\nEXAMPLES\n")[1].split("\nSEE ALSO\n")[0]
    (tmp_path / "c.yaml").write_text(re.sub(r"^ {11}", "", text, flags=re.M))
    run(PROGRAM, "serve", "-c", tmp_path / "c.yaml", "--check-config")


def test_example_rules_are_good(installed, tmp_path):
    text = page(installed, "stakeout-rules.5").split("\nEXAMPLES\n")[1].split("\nSEE ALSO\n")[0]
    (tmp_path / "r.yaml").write_text(re.sub(r"^ {11}", "", text, flags=re.M))
    run(PROGRAM, "check", "--list", "-r", tmp_path / "r.yaml")
    run(PROGRAM, "check", "--list", "-r", installed / "opt/it/share/stakeout/rules/default.yaml")


# --- completions ---


class Terminal:
    """An interactive shell on a terminal."""

    def __init__(self, folder, *argv, **env):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.chdir(folder)
            os.execvpe(argv[0], argv, {"PATH": f"{BUILD}:/usr/bin:/bin", "TERM": "dumb", "HOME": str(folder), "LC_ALL": "C.UTF-8", **env})
        self.seen = ""

    def until(self, pattern):
        """What came by when the pattern matches."""
        while not (found := re.search(pattern, self.seen)):
            assert select.select([self.fd], [], [], HANG_S)[0], f"waiting for {pattern}: {self.seen}"
            self.seen += os.read(self.fd, 65536).decode(errors="replace")
        said, self.seen = self.seen[:found.end()], self.seen[found.end():]
        return said

    def send(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        os.close(self.fd)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module", params=["bash", "zsh"])
def shell(request, installed, tmp_path_factory):
    """What a line becomes when Tab is pressed at its end; in the folder is a recording."""
    tmp_path = tmp_path_factory.mktemp("shell")
    (tmp_path / "recording.ndjson").touch()
    share = installed / "opt/it/share"
    if request.param == "bash":
        terminal = Terminal(tmp_path, "bash", "--norc", "--noprofile", "-i")
        terminal.send(f"bind 'set show-all-if-ambiguous on'; bind 'set page-completions off'; PS1='READY> '; . {share}/bash-completion/completions/stakeout; echo DO'NE'\n")
    else:
        terminal = Terminal(tmp_path, "zsh", "-f", "-i")
        terminal.send(f"PS1='READY> '; unset zle_bracketed_paste; setopt no_beep; LISTMAX=1000; fpath=({share}/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D; echo DO'NE'\n")
    terminal.until("DONE")
    terminal.until("READY> ")

    def complete(line):
        # At the beginning of the completed line, a command that shows what its words are by then; at its end, one to wait for.
        terminal.send(line + "\t\x01printf '<%s>\\n' \x05 END\n")
        said = terminal.until("\n<END>\r?\n")
        terminal.until("READY> ")
        return said
    yield complete
    terminal.close()


@pytest.mark.parametrize("line, whole", [
    ("stakeout rec", "stakeout record"),
    ("stakeout record --bud", "stakeout record --budget"),
    ("stakeout record --probe +prof", "stakeout record --probe +profile"),
    ("stakeout record --probe +heap,-nam", "stakeout record --probe +heap,-names"),
    ("stakeout report --hist exchange_", "stakeout report --hist exchange_ns"),
    ("stakeout report record", "stakeout report recording.ndjson"),
    ("stakeout record -o ./rec", "stakeout record -o ./recording.ndjson"),
    ("stakeout serve --check", "stakeout serve --check-config"),
])
def test_completed(shell, line, whole):
    said = shell(line)
    assert re.findall(r"^<(.*)>\r?$", said, re.M)[:-1] == whole.split(), said


def test_all_options_are_offered(shell):
    said = shell("stakeout record --")
    for option in set(re.findall(r"^ {2,6}(?:-\w, )?(--[a-z-]+)", run(PROGRAM, "record", "--help"), re.M)) - {"--help"}:
        assert option in said, option


def test_fish(installed, tmp_path):
    (tmp_path / "recording.ndjson").touch()
    script = installed / "opt/it/share/fish/vendor_completions.d/stakeout.fish"
    def offered(line):
        said = run("fish", "--no-config", "-c", f"source {script}; complete -C'{line}'", cwd=tmp_path, env={"PATH": f"{BUILD}:/usr/bin:/bin", "HOME": str(tmp_path)})
        return [row.split("\t")[0] for row in said.splitlines()]
    told = set(re.findall(r"^ {2,6}(?:-\w, )?(--[a-z-]+)", run(PROGRAM, "record", "--help"), re.M)) - {"--help"}
    assert told <= set(offered("stakeout record --"))
    assert offered("stakeout rec") == ["record"]
    assert offered("stakeout record --probe +prof") == ["+profile"]
    assert offered("stakeout report --hist exchange_") == ["exchange_ns"]
    assert "recording.ndjson" in offered("stakeout report reco")


# --- the package ---


@pytest.fixture(scope="module")
def package(packaging):
    return packaging[0].result()


def test_package_depends_on_what_it_links_to(package):
    """By the dynamic section, and the packages that own those files here."""
    depends = {re.split(r"[ (]", part.strip())[0] for part in run("dpkg-deb", "-f", package, "Depends").split(",")}
    paths = dict(re.findall(r"^\s*(\S+) => (/\S+)", run("ldd", PROGRAM), re.M))
    needed = [paths[name] for name in re.findall(r"NEEDED +(\S+)", run("objdump", "-p", PROGRAM))]
    assert len(needed) > 5
    # /lib is a link to /usr/lib: the package may have the one or the other.
    spelled = {path: {path, os.path.realpath(path), os.path.realpath(path).removeprefix("/usr")} for path in needed}
    owner = {line.split(": ")[1]: line.split(":")[0] for line in run("dpkg", "-S", *{p for all_of in spelled.values() for p in all_of}, status=None).splitlines()}
    for path in needed:
        assert {owner.get(p) for p in spelled[path]} & depends, f"{path} is not among {depends}"


def test_package_comes_and_goes(package, tmp_path):
    root = tmp_path / "root"
    for folder in "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log":
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    before = set(files(root))
    dpkg = ("dpkg", f"--root={root}", "--force-script-chrootless", "--force-depends", "--log=/dev/null")
    run(*dpkg, "-i", package)
    assert "install ok installed" in run(*dpkg, "-s", "stakeout")
    assert run(*dpkg, "--verify", "stakeout") == ""
    assert (root / "usr/bin/stakeout").read_bytes() != b""
    assert run(root / "usr/bin/stakeout", "--version").startswith("stakeout ")
    configured = [path for path in files(root) if path.startswith("etc/")]
    assert sorted(f"etc/{p}" for p in re.findall(r"^/etc/(\S+)", run("dpkg-deb", "--ctrl-tarfile", package) and run(
        "sh", "-c", f"dpkg-deb --ctrl-tarfile {package} | tar -xO ./conffiles 2>/dev/null || :"), re.M)) == configured
    recording = root / "var/lib/stakeout/stakeout-20260101-000000.ndjson.gz"  # as the daemon leaves it
    recording.parent.mkdir()
    recording.touch()
    run(*dpkg, "--remove", "stakeout")
    left = [path for path in files(root) if not path.startswith("var/") and path not in before]
    assert sorted(left) == configured and recording.exists()
    run(*dpkg, "--purge", "stakeout")
    assert [path for path in files(root) if not path.startswith(("var/lib/dpkg/", "var/log/"))] == []


def test_package_is_clean(package, packaging):
    assert re.findall(r"^[EW]: .*", packaging[1].result(), re.M) == []
