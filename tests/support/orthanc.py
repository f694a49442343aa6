"""A real Orthanc, the PACS, on free loopback ports and with everything in a temporary folder.

with Orthanc(tmp_path) as pacs: ...    # pacs.dicom, pacs.url; pacs.get("/instances")
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.broker import free_port

START_WITHIN_S = 60.0
TITLE = "ORTHANC"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")  # where Debian has it
WORKLISTS = DICOMWEB.with_name("libModalityWorklists.so")  # Debian's orthanc itself has it


def missing() -> str:
    """Why these tests cannot run here; "" when they can."""
    wanted = [] if _program() else ["orthanc"]
    wanted += [] if DICOMWEB.is_file() else ["orthanc-dicomweb"]
    return f"not installed: {', '.join(wanted)}" if wanted else ""


def _program() -> str | None:
    return shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Orthanc:
    """What is stored stays as it was first stored. Use from one thread."""

    def __init__(self, folder: Path, worklist: Path | None = None) -> None:
        """`worklist`: a folder of its entries (*.wl)."""
        self._folder, self._worklist = folder, worklist
        self.dicom, self._http = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._http}"
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Orthanc:
        config = self._folder / "orthanc.json"
        config.write_text(json.dumps(self._config()))
        program = _program()
        assert program is not None, missing()
        self._log = (self._folder / "orthanc.log").open("wb")
        self._child = subprocess.Popen([program, str(config)], stdout=self._log, stderr=subprocess.STDOUT)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._log.close()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            content = answer.read()
            return json.loads(content) if answer.headers.get_content_type() == "application/json" else content

    def _config(self) -> dict[str, Any]:
        worklists = {"Enable": self._worklist is not None, "Database": str(self._worklist)}
        return {
            "Worklists": worklists,
            "Name": "test",
            "StorageDirectory": str(self._folder / "storage"),
            "IndexDirectory": str(self._folder / "storage"),
            "Plugins": [str(DICOMWEB), *([str(WORKLISTS)] if self._worklist is not None else [])],
            "HttpPort": self._http,
            "DicomPort": self.dicom,
            "DefaultEncoding": "Utf8",
            "DicomAet": TITLE,
            "DicomModalities": {"us": ["ENDOEDGE", "127.0.0.1", 104]},
            "DicomCheckCalledAet": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomWeb": {"Enable": True},
        }

    def _wait(self) -> None:
        assert self._child is not None
        end = time.monotonic() + START_WITHIN_S
        while time.monotonic() < end and self._child.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                self.get("/system")
                return
            time.sleep(0.05)
        raise RuntimeError(f"Orthanc did not start: {(self._folder / 'orthanc.log').read_text()[-2000:]}")
