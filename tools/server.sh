#!/usr/bin/env bash
# The report server with its embedded default: SQLite, key frames in a folder, a worker beside the web, on this machine alone.
#   tools/server.sh [DIR]     everything in DIR (default: ./endoedge-server); DIR/server.toml is the configuration, docs/server.md its keys
# Sets itself up. Where there is no account yet it makes the first two: an administrator and a clinician, passwords asked for
# (without a terminal: drawn, and kept in DIR/first-passwords, which only you can read). Ctrl-C ends it.
set -euo pipefail
here="$(cd "$(dirname "$0")/.." && pwd)"
case "${1:-}" in -h | --help) sed -n '2,5s/^# *//p' "$0"; exit 0 ;; -*) echo "usage: tools/server.sh [DIR]" >&2; exit 2 ;; esac
folder=${1:-endoedge-server}
"$here/tools/setup.sh" server >&2
mkdir -p -m 700 "$folder"
folder="$(cd "$folder" && pwd)"
config="$folder/server.toml"
[ -e "$config" ] || printf '%s\n' '# Every key, and what it is without you: docs/server.md' 'data_dir = "."' >"$config"
server() { "$here/.venv/bin/endoedge-server" --config "$config" "$@"; }

trap "exit 1" INT # while somebody is asked
first() { # NAME ROLE FULL-NAME
  if [ -t 0 ]; then
    echo "A password for $1 ($2), at least 12 signs:"
    until server account create "$1" --role "$2" --full-name "$3"; do :; done
  else
    (umask 077 && printf '%s %s\n' "$1" "$(head -c 15 /dev/urandom | base64 | tr '+/' '-_')" >>"$folder/first-passwords")
    tail -n 1 "$folder/first-passwords" | cut -d ' ' -f 2 | server account create "$1" --role "$2" --full-name "$3" --password-file -
  fi
}
if [ -z "$(server account list)" ]; then
  first admin admin "Administrator"
  first clinician clinician "${ENDOEDGE_CLINICIAN:-The Clinician}"
  [ -t 0 ] || echo "passwords: $folder/first-passwords"
fi
echo "a box is let in by: .venv/bin/endoedge-server --config $config box code DEVICE, then on the box: endoedge enrol URL CODE"
exec "$here/.venv/bin/endoedge-server" --config "$config" serve
