"""Who makes releases for the twin: signed, published, served over HTTP, and put on sticks."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from edge import release
from edge.errors import UpdateError
from tools.ota import releases, thin
from tools.ota.releases import Publisher
from tools.release import image
from tools.twin import needs
from tools.twin.elsewhere import GUEST

HARDWARE = "endoedge-x86_64-debian12"
STICK_SPARE_MIB = 16


class Releases:
    """`signed`: version → sha256 of its image. Thin ones run the checkout; a whole one is what `tools/release.sh build`
    made."""

    def __init__(self, folder: Path, filling_mib: int = 1) -> None:
        self._folder, self._filling = folder, filling_mib << 20
        self._publisher = Publisher(folder / "publisher")
        self.repository, self.ca = self._publisher.repository, self._publisher.ca
        self.root = self.repository / "metadata/1.root.json"
        self.signed: dict[str, str] = {}

    @property
    def newest(self) -> str:
        return list(self.signed)[-1]

    def publish(self, version: str) -> None:
        """Thin. Each has other bytes in it."""
        tree, made = self._folder / f"tree-{version}", self._folder / f"{version}.img"
        thin.lay(tree, GUEST, version, random.Random(version).randbytes(self._filling))
        releases.squash(tree, made)
        shutil.rmtree(tree)
        self._offer(made, version)

    def publish_whole(self, made: Path) -> None:
        self._offer(made, whole_version(made))

    def stick(self, made: Path, label: str) -> Path:
        """What is published now, on a FAT file system."""
        mib = sum(file.stat().st_size for file in self.repository.rglob("*") if file.is_file()) // 2**20
        with made.open("wb") as file:
            file.truncate((mib + STICK_SPARE_MIB) << 20)
        _run(needs.program("mkfs.vfat"), "-n", label, made)
        _run(needs.program("mcopy"), "-s", "-i", made, *sorted(self.repository.iterdir()), "::/")
        return made

    def _offer(self, made: Path, version: str) -> None:
        bundle = self._publisher.bundle(made, version, HARDWARE)
        self._publisher.publish(bundle, version, HARDWARE)
        bundle.unlink()
        self.signed[version] = image.sha256(made)


def whole_version(made: Path) -> str:
    """As the file beside it says."""
    told = made.with_suffix(".json")
    try:
        return msgspec.json.decode(told.read_bytes(), type=release.Release).version
    except (OSError, msgspec.DecodeError) as exc:
        raise UpdateError(f"{told}: {exc}; expected what tools/release.sh build writes beside the image") from exc


class _Handler(SimpleHTTPRequestHandler):
    """With ranges, as web servers of files have them: what was cut goes on."""

    def do_GET(self) -> None:
        try:
            content = Path(self.translate_path(self.path)).read_bytes()
        except OSError:
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begins = min(int(asked[1]), len(content)) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begins}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begins))
        self.end_headers()
        with contextlib.suppress(OSError):  # a box whose power goes breaks off
            self.wfile.write(memoryview(content)[begins:])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the box says what it fetched."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[int]:
    """To this machine alone, and so to its guest. The port."""
    handler = partial(_Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="releases")
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UpdateError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")


def version(number: int) -> str:
    return f"1.{number}.0"
