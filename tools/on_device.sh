#!/usr/bin/env bash
# Everything that only a Jetson can prove, in one command; writes a report to send back. Test patterns only, no picture
# of anybody. docs/on-device.md says what each check proves.
#   tools/on_device.sh                            all that can be done as the box stands (about 25 minutes)
#   tools/on_device.sh --soak-minutes 60 --loop /dev/video0
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -x .venv/bin/python ]; then tools/setup.sh; fi
exec .venv/bin/python -m tools.on_device "$@"
