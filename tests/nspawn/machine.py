"""A box under a real systemd: `systemd-nspawn -b` on an overlay of this machine's root file system. Needs root.

Nothing of it outlives `running()`: the upper layer is a tmpfs. The units are the repository's own, unchanged; drop-ins
that a test writes are gone with `reset`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
CORE, UPLINK, SAFE = "endoedge-core.service", "endoedge-uplink.service", "endoedge-safe.service"
OPT, ETC, RUN = Path("opt/endoedge"), Path("etc/endoedge"), Path("run/endoedge")
PYTHON = "/opt/endoedge/venv/bin/python"
UNITS, SYSTEM = Path("usr/lib/systemd/system"), Path("usr/lib/endoedge")
PROGRAMS = ("systemd-nspawn", "nsenter", "mosquitto", "mosquitto_sub", "gst-inspect-1.0", "ss")
START_WITHIN_S = 60.0
# Of what is done in a box: nothing of ours, which may name folders and packages that it has not.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"}

SITE = """device = "box"
pipeline = "colonoscopy"
[capture]
source = "phantom"
seconds = 6
fps = 5
width = 320
height = 256
loop = true
cache_dir = "/var/cache/endoedge/phantom"
[outbox]
path = "/var/lib/endoedge/outbox.db"
max_mib = 8
[uplink]
host = "127.0.0.1"
port = 1883
username = "box"
password_file = "credentials/mqtt-password"
retry_max_s = 1.0
[uplink.metrics]
port = 9108
"""
PASSWORD = "planted-4711"
BROKER = """listener 1883 127.0.0.1
allow_anonymous false
password_file /etc/mosquitto/box.passwords
persistence false
max_queued_messages 100000
"""
BOX_TARGET = """[Unit]
Requires=basic.target
Wants=mosquitto.service endoedge.target
After=basic.target
AllowIsolate=yes
"""


def missing() -> str:
    """Why there can be no such machine here; "" when there can."""
    if os.geteuid():
        return "needs root"
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    tried = ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"]
    allowed = subprocess.run(tried, capture_output=True)
    return "no mounting here, not even for root" if allowed.returncode else ""


class Machine:
    """Owner: the test's thread."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root, self.leader = root, leader  # `leader`: its process 1, in our numbers
        self.boot_s: dict[str, float] = {}  # unit → from the units' start at boot to ready

    def run(self, *command: str, check: bool = True) -> str:
        """Its stdout, run as root in the box. AssertionError with its words when it fails."""
        done = self.attempt(*command)
        assert not (check and done.returncode), f"{' '.join(command)}: exit {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def attempt(self, *command: str, within_s: float = 60) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "--target", str(self.leader), "--all", "--"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=within_s, env=ENVIRONMENT)

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "-P", name, unit)

    def active(self, unit: str) -> bool:
        return self.show(unit, "ActiveState") == "active"

    def pid(self, unit: str) -> int:
        """In the box's own numbers."""
        return int(self.show(unit, "MainPID"))

    def signal(self, unit: str, name: str) -> None:
        self.run("kill", f"-{name}", str(self.pid(unit)))

    def read(self, path: Path) -> str:
        """A file of the box, also where it lies in a tmpfs of its own; "" when it is not there."""
        return self.attempt("cat", f"/{path}").stdout

    def drop_in(self, unit: str, text: str) -> None:
        folder = self.root / "etc/systemd/system" / f"{unit}.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test.conf").write_text(text)
        self.run("systemctl", "daemon-reload")

    def messages(self, topic: str, within_s: int, count: int = 1) -> list[str]:
        """The first `count` payloads that come within that time."""
        who = ("-u", "box", "-P", PASSWORD, "-V", "5")
        limits = ("-C", str(count), "-W", str(within_s))
        return self.attempt("mosquitto_sub", *who, "-t", topic, *limits).stdout.splitlines()

    def wait(self, condition: Callable[[], object], what: str, within_s: float = START_WITHIN_S) -> float:
        """Seconds that it took. What the journal says is shown when it did not come."""
        began = time.monotonic()
        try:
            wait_for(condition, what, within_s)
        except AssertionError:
            print(self.run("journalctl", "--no-pager", "-n", "60", check=False))
            raise
        return time.monotonic() - began

    def ready_after_s(self, unit: str) -> float:
        """From its last start."""
        began, ready = (int(self.show(unit, f"{edge}TimestampMonotonic")) for edge in ("InactiveExit", "ActiveEnter"))
        return (ready - began) / 1e6

    def as_it_should_be(self) -> bool:
        changed = list((self.root / "etc/systemd/system").glob("endoedge-*.service.d"))
        return not changed and all(map(self.active, (CORE, UPLINK, "mosquitto.service")))

    def power_off(self) -> None:
        self.attempt("systemctl", "poweroff")
        wait_for(lambda: not Path(f"/proc/{self.leader}").exists(), "the box is off", 30)

    def reset(self) -> None:
        """The units as they are in the repository, and ready."""
        for folder in (self.root / "etc/systemd/system").glob("endoedge-*.service.d"):
            shutil.rmtree(folder)
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "stop", "endoedge.target", SAFE, CORE, UPLINK)
        self.run("systemctl", "reset-failed")
        self.run("systemctl", "start", "mosquitto", UPLINK, CORE, "endoedge.target")
        self.wait(lambda: self.active(CORE) and self.active(UPLINK), "core and uplink are ready")


@contextlib.contextmanager
def bare(folder: Path, phantom: Path, binds: Mapping[Path, Path]) -> Iterator[Machine]:
    """A machine with a site's configuration and a broker, and nothing of ours installed. `binds`: what it sees of this
    one, by the place where it does."""
    with _overlay(folder) as root:
        _clear(root, phantom)
        with booted(root, binds, folder / "console.txt") as leader:
            box = Machine(root, leader)
            box.wait(lambda: box.attempt("systemctl", "show", "-P", "Version").returncode == 0, "systemd answers")
            yield box
            box.power_off()


@contextlib.contextmanager
def stranger(folder: Path, bare_root: Path, binds: Mapping[Path, Path]) -> Iterator[Machine]:
    """A machine of another distribution, whose root file system lies in a folder, as it is."""
    with _overlay(folder, bare_root) as root:
        (root / "etc/machine-id").write_text("")
        with booted(root, binds, folder / "console.txt", "multi-user.target") as leader:
            box = Machine(root, leader)
            box.wait(lambda: box.attempt("systemctl", "show", "-P", "Version").returncode == 0, "systemd answers")
            yield box
            box.power_off()


@contextlib.contextmanager
def running(folder: Path, phantom: Path) -> Iterator[Machine]:
    """Boot, and power off at the end. `phantom`: a cache with the rendered clip."""
    with furnished(folder, phantom) as root, booted(root, ours(), folder / "console.txt") as leader:
        box = Machine(root, leader)
        box.wait(lambda: box.attempt("systemctl", "show", "-P", "Version").returncode == 0, "systemd answers")
        box.wait(lambda: box.active(CORE) and box.active(UPLINK), "core and uplink are ready")
        box.boot_s = {unit: box.ready_after_s(unit) for unit in (CORE, UPLINK)}
        with controllers(box):
            yield box


@contextlib.contextmanager
def furnished(folder: Path, phantom: Path) -> Iterator[Path]:
    """The root of a box that was not started yet."""
    with _overlay(folder) as root:
        _clear(root, phantom)
        _furnish(root)
        yield root


def ours() -> dict[Path, Path]:
    """What an environment of `_venv` leads to."""
    return {ROOT: OPT / "checkout", Path(sysconfig.get_path("purelib")): OPT / "site-packages"}


@contextlib.contextmanager
def _overlay(folder: Path, lower: Path = Path("/")) -> Iterator[Path]:
    layers, root = folder / "layers", folder / "root"
    for path in (layers, root):
        path.mkdir()
    _run("mount", "-t", "tmpfs", "-o", "size=4g,mode=755", "tmpfs", str(layers))
    try:
        for name in ("upper", "work"):
            (layers / name).mkdir()
        options = f"lowerdir={lower},upperdir={layers}/upper,workdir={layers}/work"
        _run("mount", "-t", "overlay", "-o", options, "overlay", str(root))
        try:
            yield root
        finally:
            _run("umount", "--recursive", str(root))
    finally:
        _run("umount", str(layers))


def _clear(root: Path, phantom: Path) -> None:
    """A machine of its own, without what may be installed on this one."""
    for name in ("etc/machine-id", ETC, OPT, "var/lib/endoedge", "var/cache/endoedge", "etc/mosquitto/conf.d", SYSTEM):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (root / "etc/machine-id").touch()
    (root / ETC / "credentials").mkdir(parents=True)
    (root / ETC / "endoedge.toml").write_text(SITE)
    password = root / ETC / "credentials/mqtt-password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    _broker(root)
    (root / UNITS / "endoedge-box.target").write_text(BOX_TARGET)
    shutil.copytree(phantom, root / "var/cache/endoedge/phantom")


def _furnish(root: Path) -> None:
    """As an installer would, but that packages and the checkout are this machine's own."""
    for name in ("checkout", "site-packages"):
        (root / OPT / name).mkdir(parents=True)
    release(root / OPT / "releases/first", "0.1.0")
    (root / OPT / "current").symlink_to("releases/first")
    (root / OPT / "venv").symlink_to("/run/endoedge-slots/current/venv")
    for kind in ("service", "target", "path", "socket"):
        for unit in (ROOT / "systemd").glob(f"*.{kind}"):
            shutil.copy(unit, root / UNITS)
    (root / SYSTEM).mkdir()
    shutil.copy(ROOT / "edge/update/slot.py", root / SYSTEM / "slot")
    (root / SYSTEM / "slot").chmod(0o755)
    shutil.copy(ROOT / "edge/update/slot_image.py", root / SYSTEM)
    shutil.copy(ROOT / "systemd/endoedge-update-bus.conf", root / SYSTEM / "update-bus.conf")
    for name in ("sysusers", "tmpfiles"):
        shutil.copy(ROOT / "systemd" / f"endoedge.{name}.conf", root / f"usr/lib/{name}.d/endoedge.conf")
    # GStreamer looks through all of its plugins once, and keeps the list where the core's unit has its cache.
    _run("chroot", str(root), "env", "XDG_CACHE_HOME=/var/cache/endoedge", "gst-inspect-1.0")


def release(folder: Path, version: str) -> None:
    """A release whose environment is what `python -m venv --system-site-packages` and pip would make, with this
    machine's packages beside it."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    site, programs = folder / f"venv/lib/python{python}/site-packages", folder / "venv/bin"
    for path in (site, programs):
        path.mkdir(parents=True)
    (folder / "release.json").write_text(json.dumps({"version": version}))
    (folder / "venv/pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = true\n")
    (programs / "python").symlink_to(f"/usr/bin/python{python}")
    (site / "endoedge.pth").write_text("/opt/endoedge/checkout\n/opt/endoedge/site-packages\n")
    command = programs / "endoedge"
    command.write_text("#!/opt/endoedge/venv/bin/python\nimport sys\n\nfrom edge.cli import main\n\nsys.exit(main())\n")
    command.chmod(0o755)


def _broker(root: Path) -> None:
    folder = root / "etc/mosquitto"
    folder.mkdir(exist_ok=True)
    (folder / "mosquitto.conf").write_text(BROKER)
    passwords = folder / "box.passwords"
    passwords.write_text(f"box:{PASSWORD}\n")
    _run("mosquitto_passwd", "-U", str(passwords))
    shutil.chown(passwords, "mosquitto", "mosquitto")


@contextlib.contextmanager
def booted(root: Path, binds: Mapping[Path, Path], console: Path, target: str = "endoedge-box.target") -> Iterator[int]:
    """The process id of the box's systemd."""
    options = [f"--bind-ro={source.resolve()}:/{target}" for source, target in binds.items()]
    options += [f"--bind={node}" for node in sorted(Path("/dev").glob("loop*"))]  # images are mounted from them
    options.append("--system-call-filter=adjtimex clock_adjtime")  # to ask for the clock's state, as on a machine
    command = ["systemd-nspawn", "-b", "-D", str(root), "--private-network", "--register=no", "--keep-unit", *options]
    with console.open("wb") as output:
        nspawn = subprocess.Popen(
            [*command, "--", f"systemd.unit={target}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            wait_for(lambda: _leader(nspawn.pid), f"nspawn starts the box: {console}", 10)
            yield _leader(nspawn.pid)
        finally:
            nspawn.terminate()  # asks the box to power off
            try:
                nspawn.wait(30)
            except subprocess.TimeoutExpired:
                nspawn.kill()
                nspawn.wait()


@contextlib.contextmanager
def controllers(box: Machine) -> Iterator[None]:
    """Control groups of version 1 are read-only in a box of nspawn's; limits on memory and devices need them. Those of
    version 2 are the box's own from the start. What the box leaves behind of them is removed."""
    paths = [line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = {
        name: Path("/sys/fs/cgroup", name, *path.split("/")) for name, path in paths if name in ("memory", "devices")
    }
    before = {name: set(path.iterdir()) for name, path in own.items()}
    for name in own:
        box.run("mount", "-o", "remount,rw,bind", f"/sys/fs/cgroup/{name}")
    if own:
        box.run("systemctl", "daemon-reexec")
    box.reset()
    try:
        yield
    finally:
        box.power_off()
        for name, path in own.items():
            for group in set(path.iterdir()) - before[name]:
                for folder in [*sorted(group.rglob("*/"), reverse=True), group]:
                    with contextlib.suppress(OSError):  # a file
                        folder.rmdir()


def _leader(nspawn: int) -> int:
    """Its child that is process 1 of the box; 0 before there is one."""
    for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{child}/status").read_text().splitlines()
            numbers = next(line for line in lines if line.startswith("NSpid:")).split()
            if len(numbers) > 2 and numbers[-1] == "1" and "Name:\tsystemd" in lines:
                return int(child)
    return 0


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
