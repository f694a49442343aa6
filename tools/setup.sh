#!/usr/bin/env bash
# Makes this checkout runnable: Debian/Ubuntu packages (as root or with sudo), then .venv. Harmless to run again.
#   tools/setup.sh            what the box needs
#   tools/setup.sh dev        and what the tests need (lint, types, training code)
#   tools/setup.sh server     what the report server needs (tools/server.sh)
#   tools/setup.sh packages   the box's Debian/Ubuntu packages alone (for tools/install.sh)
#   tools/setup.sh list       says which these are, and does nothing (for tools/sbom.sh)
set -euo pipefail
cd "$(dirname "$0")/.."
extras=${1:-}
case "$extras" in "" | dev | server | packages | list) ;; *) echo "usage: tools/setup.sh [dev | server | packages | list]" >&2; exit 2 ;; esac

# What the report server stands on has left Python 3.10 (Ubuntu 22.04); the box has not.
server=$(/usr/bin/python3 -c 'import sys; print("yes" if sys.version_info >= (3, 11) else "")' 2>/dev/null || echo yes)
if [ "$extras" = server ] && [ -z "$server" ]; then
  echo "setup: the report server needs Python 3.11 or later (Debian 12, Ubuntu 24.04); here is $(/usr/bin/python3 --version)" >&2
  exit 1
fi

have() {  # of these, what the distribution has; a new machine may not know yet
  apt-cache show "$1" >/dev/null 2>&1 || [ "$(id -u)" != 0 ] || apt-get update -q >/dev/null 2>&1 || true
  for package; do apt-cache show "$package" >/dev/null 2>&1 && printf '%s ' "$package"; done
  true
}
packages="python3-venv python3-gi python3-gst-1.0 gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-tools
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
  gstreamer1.0-libav mosquitto openssl dbus $(have rauc)"  # D-Bus and RAUC: for updates
# Tests of the display need an X server and its sink; a box without a display needs neither (docs/display.md).
# lrzsz receives what the console sends. squashfs-tools makes releases. xfsprogs and fiu-utils are for disks that fail (tools/faults.sh).
[ "$extras" = dev ] && packages="$packages mosquitto-clients squashfs-tools gstreamer1.0-x gir1.2-gst-rtsp-server-1.0 xvfb fonts-dejavu-core systemd-container lrzsz
  xfsprogs fiu-utils"
# Keys in hardware (tools/release): a token in software.
[ "$extras" = dev ] && packages="$packages $(have softhsm2 opensc libengine-pkcs11-openssl)"
# The report server's tests: its other database, a browser, a PACS and a second reading of DICOM; each where the distribution has it.
[ "$extras" = dev ] && packages="$packages $(have postgresql chromium poppler-utils dicom3tools orthanc orthanc-dicomweb libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0)"
# Pango and HarfBuzz make the server's PDFs; a letter that no font has is an error there, so some fonts.
[ "$extras" = server ] && packages="python3-venv libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core"
[ "$extras" = list ] && { printf '%s\n' $packages; exit 0; }
missing=$(for package in $packages; do
  dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed' || echo "$package"
done)
if [ -n "$missing" ]; then
  install="apt-get install -y --no-install-recommends $(echo $missing)"
  if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo"; else
    echo "setup: these packages are missing; run this as root, then run me again:" >&2
    echo "  apt-get update && $install" >&2
    exit 1
  fi
  echo "setup: installing $(echo $missing)"
  log=$(mktemp)
  # Debian starts the broker it installs; the demo brings up its own on a free port.
  { $as_root apt-get update -q && DEBIAN_FRONTEND=noninteractive $as_root $install; } >"$log" 2>&1 || { tail -20 "$log" >&2; exit 1; }
  rm -f "$log"
fi

[ "$extras" = packages ] && exit 0

# The system's Python, because PyGObject comes from the distribution. The server needs none of it.
needed=gi
[ "$extras" = server ] && needed=venv
if ! .venv/bin/python -c "import $needed" 2>/dev/null; then
  rm -rf .venv
  /usr/bin/python3 -m venv --system-site-packages .venv
fi
wanted="$(cat pyproject.toml constraints.txt | sha256sum | cut -c1-16) $extras $(pwd)"
stamp=.venv/endoedge-setup${extras:+-$extras}
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  echo "setup: installing Python packages into .venv"
  target=".[console]"
  [ "$extras" = dev ] && target=".[dev,calibration${server:+,server}]"
  [ "$extras" = server ] && target=".[server]"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$target"
  echo "$wanted" >"$stamp"
fi
# S3 for the tests of server/bucket.py, apart: what it pins is not what we do.
if [ "$extras" = dev ] && [ "$server" ] && [ ! -x .venv/moto/bin/moto_server ]; then
  echo "setup: installing an S3 server for tests into .venv/moto"
  /usr/bin/python3 -m venv .venv/moto
  .venv/moto/bin/python -m pip install --quiet --disable-pip-version-check 'moto[s3,server]==5.2.5'
fi
