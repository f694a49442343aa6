"""A box's configuration for a check: a test pattern in, nothing out of the machine."""

from __future__ import annotations

from pathlib import Path

from tools.on_device import Context, released

ENGINES = Path.home() / ".cache" / "endoedge" / "engines"  # kept: a second run need not build for minutes again
PATTERN = 'source = "test"\npattern = "snow"\nfield = "whole"'  # the one pattern that counts as a live picture


def write(context: Context, folder: Path, backend: str, size: tuple[int, int] = (1920, 1080), fps: int = 60) -> Path:
    """`endoedge.toml` in `folder`; everything that it makes lies there, too. The broker is nobody: nothing is sent."""
    engines = f'cache_dir = "{ENGINES}"\n' if backend == "tensorrt" else ""
    models = released(context, "int8").path
    file = folder / "endoedge.toml"
    file.write_text(
        f'device = "on-device"\npipeline = "colonoscopy"\nrun_dir = "."\nmodels_dir = "{Path(models).parents[1]}"\n'
        f"[capture]\n{PATTERN}\nwidth = {size[0]}\nheight = {size[1]}\nfps = {fps}\n"
        f'[infer]\nbackend = "{backend}"\n{engines}'
        '[outbox]\npath = "outbox.db"\n[record]\nkey_frames = false\n[uplink]\nhost = "127.0.0.1"\n',
        encoding="utf-8",
    )
    return file
