#!/usr/bin/env bash
# Makes a box of this machine (Debian 12, Ubuntu 22.04 and later), as root; again: an upgrade. docs/install.md has the rest.
#   tools/install.sh [--wheels DIR] [--extras LIST]     --wheels: no package index, all wheels lie there
#       [--release-ca FILE --tuf-root FILE]             whose updates it takes (docs/update.md); without: none
#   tools/install.sh remove [--purge]                   --purge: configuration, secrets, outbox and users, too
# Works in a chroot, too (nothing is started then).
set -Eeuo pipefail
cd "$(dirname "$0")/.."
opt=/opt/endoedge etc=/etc/endoedge system=/usr/lib/endoedge slots=/var/lib/endoedge-slots
part=1  # the number of what lies outside of every release: units, slot program, RAUC's configuration
running() { [ -d /run/systemd/system ]; }
fail() { echo "install: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "must be run as root"

link() { # atomically: there is the old target, or the new one
  ln -sfn "$1" "$2.new" && mv -T "$2.new" "$2"
}

remove() {
  systemctl disable --quiet endoedge.target 2>/dev/null || true
  running && systemctl stop endoedge.target 'endoedge-*' 2>/dev/null || true
  if [ -f $opt/installed ]; then xargs -d '\n' rm -f -- <$opt/installed; else echo "install: nothing is in $opt"; fi
  for slot in A B; do umount --lazy /run/endoedge-slots/$slot 2>/dev/null || true; done
  rm -rf $opt $system $slots /run/endoedge-slots /var/cache/endoedge /usr/share/doc/endoedge
  running && systemctl daemon-reload
  if [ "${1:-}" = --purge ]; then
    rm -rf $etc /var/lib/endoedge /var/lib/private/endoedge-console /var/lib/endoedge-* /run/endoedge /run/endoedge-*
    for user in endoedge-bus endoedge-update endoedge-selftest endoedge-console endoedge-uplink endoedge; do userdel $user 2>/dev/null || true; done
    groupdel endoedge 2>/dev/null || true
    echo "install: removed, with configuration and data"
  else
    echo "install: removed; $etc and /var/lib/endoedge are kept (remove --purge takes them, too)"
  fi
}

place() { # FILE TARGET [MODE]: installs it and remembers it
  install -D -m "${3:-644}" "$1" "$2"
  echo "$2" >>"$manifest"
}

place_files() {
  local unit
  for unit in systemd/*.service systemd/*.target systemd/*.path systemd/*.socket; do place "$unit" "/usr/lib/systemd/system/${unit##*/}"; done
  place systemd/endoedge.sysusers.conf /usr/lib/sysusers.d/endoedge.conf
  place systemd/endoedge.tmpfiles.conf /usr/lib/tmpfiles.d/endoedge.conf
  place systemd/endoedge.system.conf /usr/lib/systemd/system.conf.d/endoedge.conf
  place systemd/endoedge.rules /usr/lib/udev/rules.d/72-endoedge.rules
  place docs/install.md /usr/share/doc/endoedge/install.md
  place docs/endoedge.example.toml /usr/share/doc/endoedge/endoedge.example.toml
  place systemd/jetson.conf /usr/share/doc/endoedge/jetson.conf
  place edge/update/slot.py $system/slot 755
  place edge/update/slot_image.py $system/slot_image.py
  place systemd/endoedge-update-bus.conf $system/update-bus.conf
  echo $part | place /dev/stdin $system/system
  link $opt/venv/bin/endoedge /usr/bin/endoedge
  link /run/endoedge-slots/current/share /usr/share/endoedge
  printf '%s\n' /usr/bin/endoedge /usr/share/endoedge >>"$manifest"
}

build() { # FOLDER: a release whole in itself; nothing that runs sees it before the link is laid
  local release=$1 source pip
  /usr/bin/python3 -m venv --system-site-packages "$release/venv"  # the system's, for PyGObject is the distribution's
  source=$(mktemp -d)
  cp -r edge calibration pyproject.toml README.md LICENSE "$source"
  pip=("$release/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir)
  [ -n "$wheels" ] && pip+=(--no-index --find-links "$wheels")
  "${pip[@]}" -c constraints.txt "$source${extras:+[$extras]}"
  rm -rf "$source"
  mkdir -p "$release/share"
  cp -r models pipelines "$release/share"
  "$release/venv/bin/endoedge" --version
}

hardware() { # what bundles are compatible with: the board and the distribution, whose Python a release's packages are for
  local board model
  model=$(tr -d '\0' 2>/dev/null </proc/device-tree/model || true)
  case "$model" in *Orin*) board=jetson-orin ;; *Thor*) board=jetson-thor ;; *) board=$(uname -m) ;; esac
  (. /etc/os-release && echo "endoedge-$board-$ID${VERSION_ID:-}" | tr '[:upper:]' '[:lower:]')
}

name_it() { # FOLDER: what release this is; that of the factory, F
  "$1/venv/bin/python" -I - "$1/release.json" "$(hardware)" $part "$(TZ=UTC git log -1 --format='%H %cd' --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || true)" <<'END'
import json, platform, sys
from edge import __version__
commit, _, built_at = sys.argv[4].partition(" ")
about = {"version": __version__, "package": __version__, "content": "all", "hardware": [sys.argv[2]],
         "system": int(sys.argv[3]), "commit": commit, "built_at": built_at,
         "python": ".".join(platform.python_version_tuple()[:2])}
with open(sys.argv[1], "w") as file:
    json.dump(about, file)
END
}

trust() { # whose updates are taken: RAUC's authority, and TUF's first root
  mkdir -p $etc/update $slots
  sed "s/@COMPATIBLE@/$(hardware)/" systemd/endoedge-rauc.conf >$etc/update/rauc.conf
  [ -z "$ca" ] || install -m 644 "$ca" $etc/update/release-ca.pem
  [ -z "$root" ] || install -m 644 "$root" $etc/update/root.json
  for slot in A B; do [ -e $slots/$slot.img ] || : >$slots/$slot.img; done
  rm -f $slots/boot.json  # what was just installed is what runs, whatever was in the slots
  if [ ! -f $etc/update/root.json ]; then echo "install: no updates over the network or from a stick: no --release-ca and --tuf-root (docs/update.md)"
  elif ! command -v rauc >/dev/null; then echo "install: no updates over the network or from a stick: this distribution has no package rauc"; fi
}

start() {
  systemd-sysusers endoedge.conf
  if ! running; then systemctl enable --quiet endoedge.target; return; fi
  systemd-tmpfiles --create endoedge.conf
  udevadm control --reload 2>/dev/null && udevadm trigger --subsystem-match=video4linux --subsystem-match=tty || true
  systemctl daemon-reload
  systemctl enable --quiet endoedge.target
  echo "install: starting (the first time, a phantom is rendered: a minute)"
  systemctl restart endoedge-slot && link /run/endoedge-slots/current/venv $opt/venv &&
    systemctl start endoedge-uplink endoedge-core && systemctl start endoedge.target ||
    fail "it does not come up: systemctl status 'endoedge*'; endoedge check"
  systemctl status --no-pager --lines 0 'endoedge-*' || true  # a view; one that waits for its next start is not a fault of this
}

wheels="" extras=metrics,console,update ca="" root=""
case "${1:-}" in remove) remove "${2:-}"; exit ;; esac
while [ $# -gt 0 ]; do
  case "$1" in
    --wheels) wheels=$(realpath "$2"); shift 2 ;;
    --extras) extras="metrics,console,update,$2"; shift 2 ;;
    --release-ca) ca=$(realpath -e "$2"); shift 2 ;;
    --tuf-root) root=$(realpath -e "$2"); shift 2 ;;
    *) fail "usage: tools/install.sh [--wheels DIR] [--extras LIST] [--release-ca FILE --tuf-root FILE] | remove [--purge]" ;;
  esac
done

tools/setup.sh packages
mkdir -p $opt/releases
release=$(mktemp -d "$opt/releases/$(date +%Y%m%d)-XXXXXX")
chmod 755 "$release"
trap 'rm -rf "$release"' ERR
build "$release"
name_it "$release"
trap - ERR

manifest=$opt/installed.new
: >"$manifest"
place_files
[ -f $opt/installed ] && comm -23 <(sort $opt/installed) <(sort "$manifest") | xargs -r -d '\n' rm -f --
mv "$manifest" $opt/installed
old=$(readlink $opt/current || true)
link "$release" $opt/current
running && [ -L $opt/venv ] || link /run/endoedge-slots/current/venv $opt/venv
mkdir -p $etc && mkdir -p -m 700 $etc/credentials
[ -f $etc/endoedge.toml ] || install -m 644 systemd/endoedge.toml $etc/endoedge.toml
trust
start
[ -n "$old" ] && rm -rf "$old"
echo "install: $("$opt/current/venv/bin/endoedge" --version) is installed; its configuration is $etc/endoedge.toml"
