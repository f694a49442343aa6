#!/usr/bin/env bash
# What happens to a box, done to it on purpose: "N of N" for each row (tools/faults/rows/), and docs/faults.md. Rows that
# mount disks or make networks need root; what cannot run here says why.
#   tools/faults.sh                              every row, with its own number of rounds (about a quarter of an hour)
#   tools/faults.sh power_cut_outbox --times 20  one row, shorter
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh dev
# In mounts and processes of its own: whatever becomes of it, nothing is left mounted or running.
if unshare --mount --pid --fork true 2>/dev/null; then
  exec unshare --mount --pid --fork --kill-child --mount-proc .venv/bin/python -m tools.faults "$@"
fi
exec .venv/bin/python -m tools.faults "$@"
