#!/usr/bin/env bash
# The twin: a virtual box with a real HDMI driver (tools/twin/). Sets the checkout up first.
#   tools/twin.sh build | run SCENARIO... | test | ota | shell
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh
exec .venv/bin/python -m tools.twin "$@"
