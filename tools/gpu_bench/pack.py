"""What a run on a GPU machine without a network needs, gathered in one folder: `tools/gpu_bench.sh pack`.

Python and GStreamer come as Debian's packages, unpacked and never installed: the other machine may have neither, or
others. Only its C library (2.36 or newer) and NVIDIA's driver have to be there.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from edge.capture import phantom
from edge.config import decode_toml
from edge.errors import EdgeError, UsageError
from edge.types import Struct
from tools.gpu_bench import ROOT

DISTRIBUTION, PYTHON = "bookworm", (3, 11)
# By CUDA's generation: ONNX Runtime's wheel of that generation, and a reader of `__cuda_array_interface__` not of ours.
WHEELS = {
    "13": ("onnxruntime-gpu[cuda,cudnn]>=1.27", "cupy-cuda13x"),
    "12": ("onnxruntime-gpu[cuda,cudnn]<1.27", "cupy-cuda12x"),
}
# GStreamer 1.22 compiles for compute capability 5.2, which CUDA 13's compiler does not know any more: its own, then.
# `onnx` counts the model's work; `pip` installs the rest.
ALWAYS = ("nvidia-cuda-nvrtc-cu12", "onnx", "pip")
PACKAGES = (
    "python3.11",
    "python3-gst-1.0",
    "gir1.2-gst-plugins-base-1.0",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-libav",
)
NEVER = ("libc6_",)  # the other machine's own: its programs and its driver's libraries run with it
FPS, SECONDS = 60, 20.0
OURS = {"archives", "clip.mkv", "no-cuvid", "packed.json", "registry.bin", "requirements.txt", "root", "venv", "wheels"}


class Packed(Struct, frozen=True, kw_only=True):
    """`packed.json`."""

    cuda: str
    commit: str
    wheels: list[str]
    packages: list[str]


def main(arguments: list[str] | None = None) -> int:
    """0 packed, 1 something could not be had, 2 usage."""
    parser = argparse.ArgumentParser(prog="tools/gpu_bench.sh pack", description="Gather what a run needs.")
    parser.add_argument("--into", type=Path, default=default_folder(), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--cuda", choices=sorted(WHEELS), default="13", help="12 for drivers before 580 (default 13)")
    options = parser.parse_args(arguments)
    try:
        _pack(options.into.resolve(), options.cuda)
    except EdgeError as exc:
        print(f"pack: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def default_folder() -> Path:
    """In the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "endoedge" / "gpu-bench"


def _pack(folder: Path, cuda: str) -> None:
    _check_machine()
    if folder.is_relative_to(ROOT):
        raise UsageError(f"{folder} lies in the checkout: name a folder outside it")
    if folder.exists() and not {path.name for path in folder.iterdir()} <= OURS:
        raise UsageError(f"{folder} holds something else: name a folder that is empty, new, or a pack")
    (folder / "packed.json").unlink(missing_ok=True)
    shutil.rmtree(folder / "venv", ignore_errors=True)  # a run's, of other wheels
    folder.mkdir(parents=True, exist_ok=True)
    _say("wheels")
    wheels = fetch_wheels(requirements(cuda), folder)
    _say("Debian packages")
    packages = fetch_packages(folder)
    _say("the phantom's clip")
    shutil.copyfile(phantom.prepare(phantom.Config(fps=FPS, seconds=SECONDS)).video, folder / "clip.mkv")
    compile_stub(folder)
    packed = Packed(cuda=cuda, commit=_commit(), wheels=wheels, packages=packages)
    (folder / "packed.json").write_bytes(msgspec.json.format(msgspec.json.encode(packed)))
    _say(f"{size_mib(folder)} MiB in {folder}: {len(wheels)} wheels, {len(packages)} packages, a clip")
    _say(f"on the GPU machine, in this checkout: tools/gpu_bench.sh run --from {folder}")


def _check_machine() -> None:
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    if (release.get("VERSION_CODENAME"), sys.version_info[:2], platform.machine()) != (DISTRIBUTION, PYTHON, "x86_64"):
        here = f"{release.get('PRETTY_NAME', 'another system')}, Python {platform.python_version()}"
        raise UsageError(f"packs are made on Debian 12, x86-64, by its own Python 3.11; this is {here}")


class _Project(msgspec.Struct):
    dependencies: list[str]
    optional: dict[str, list[str]] = msgspec.field(name="optional-dependencies")


class _PyProject(msgspec.Struct):
    project: _Project


def requirements(cuda: str) -> list[str]:
    """The box's own, with ONNX Runtime for that generation of CUDA in place of the processor's."""
    project = decode_toml(ROOT / "pyproject.toml", _PyProject).project
    own = [need for need in project.dependencies if not need.startswith("onnxruntime")]
    return [*own, *project.optional[f"cuda{cuda}"], *WHEELS[cuda], *ALWAYS]


def fetch_wheels(needs: list[str], folder: Path) -> list[str]:
    """Into `folder/wheels`, with what they need themselves; their file names. `folder/requirements.txt` names them."""
    target = folder / "wheels"
    shutil.rmtree(target, ignore_errors=True)
    (folder / "requirements.txt").write_text("\n".join(needs) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:", "-d", str(target)]
    _run([*command, "-c", str(ROOT / "constraints.txt"), "-r", str(folder / "requirements.txt")])
    return sorted(path.name for path in target.iterdir())


def fetch_packages(folder: Path) -> list[str]:
    """Debian's packages and all that they depend on, unpacked into `folder/root`; their file names."""
    archives, root = folder / "archives", folder / "root"
    for old in (archives, root):
        shutil.rmtree(old, ignore_errors=True)
    (archives / "partial").mkdir(parents=True)
    # As if nothing were installed here: what this machine has, the other one may lack.
    options = ["Dir::State::status=/dev/null", f"Dir::Cache::archives={archives}", "Debug::NoLocking=1"]
    options += ["APT::Sandbox::User="]
    flags = [word for option in options for word in ("-o", option)]
    _run(["apt-get", *flags, "install", "-q", "-y", "--no-install-recommends", "--download-only", *PACKAGES])
    kept = sorted(path for path in archives.glob("*.deb") if not path.name.startswith(NEVER))
    for package in kept:
        _run(["dpkg-deb", "-x", str(package), str(root)])
    shutil.rmtree(archives)
    return [package.name for package in kept]


def compile_stub(folder: Path) -> None:
    """`folder/no-cuvid/libnvcuvid.so.1`, for machines whose driver came without its video part. See `no_cuvid.c`."""
    if shutil.which("gcc") is None:
        raise EdgeError("no gcc, which compiles a part of it: apt install gcc")
    library = folder / "no-cuvid" / "libnvcuvid.so.1"
    library.parent.mkdir(exist_ok=True)
    source = Path(__file__).with_name("no_cuvid.c")
    _run(["gcc", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{library.name}", "-o", str(library), str(source)])


def size_mib(folder: Path) -> int:
    return round(sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        raise EdgeError(f"{' '.join(command[:4])} … ended with code {done.returncode}: {last}")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() or "unknown"


def _say(text: str) -> None:
    print(f"pack: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
