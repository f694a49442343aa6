#!/usr/bin/env bash
# What happens to a box, done to it on purpose: "N of N" for each row (tools/faults/rows/), and docs/faults.md. Rows that
# mount disks or make networks need root; what cannot run here says why.
#   tools/faults.sh                              every row, with its own number of rounds (over an hour)
#   tools/faults.sh --jobs 4                     the same, four rows at once
#   tools/faults.sh power_cut_outbox --times 20  one row, shorter
#   tools/faults.sh ota                          those about updates: update_*
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh dev
exec .venv/bin/python -m tools.faults "$@"
