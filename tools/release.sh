#!/usr/bin/env bash
# Makes, signs and publishes releases (tools/release/, docs/update.md); no box needs it, and it needs no box.
#   tools/release.sh keys new --to KEYS                          root keys, roles' keys, RAUC's authority
#   tools/release.sh init REPO --keys KEYS                       a folder that any web server serves
#   tools/release.sh build --version 1.2.0 --hardware endoedge-x86_64-debian12 --to OUT
#   tools/release.sh sign OUT/endoedge-1.2.0.img --hardware endoedge-x86_64-debian12 --keys KEYS --to OUT
#   tools/release.sh publish REPO --bundle OUT/1.2.0-....raucb --channel stable --share 0.1 --keys KEYS
#   tools/release.sh refresh REPO --keys KEYS                    every day, by cron: needs the online keys alone
#   tools/release.sh --help                                      all commands
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
"$here/tools/setup.sh" dev
export PYTHONPATH="$here"
exec "$here/.venv/bin/python" -m tools.release "$@"  # in the caller's folder: paths are the caller's
