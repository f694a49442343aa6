#!/bin/sh
# A customize hook of mmdebstrap: turns the installed packages into the twin's disk, kernel and initrd.
#   customize.sh OUT FILES WHEELS ROOT
# ROOT is the new root file system; OUT gets root.img, kernel, initrd and packages.txt; FILES is copied over ROOT;
# WHEELS holds Python packages and the file `requirements.txt`.
set -eu
out=$1 files=$2 wheels=$3 root=$4
venv=/opt/twin/venv  # a box's own venv is its release's: /opt/endoedge/venv is a link to it

echo "I: twin: configuration"
cp -r "$files/." "$root/"
chroot "$root" passwd -d root >/dev/null
# Nothing may start by itself that takes time from what is measured.
chroot "$root" systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
  e2scrub_reap.service fstrim.timer man-db.timer systemd-timesyncd.service getty@tty1.service
mkdir -p "$root/opt/endoedge/checkout" "$root/etc/endoedge" "$root/opt/twin" "$root/media/stick"

echo "I: twin: Python packages"
cp -r "$wheels" "$root/opt/wheels"
chroot "$root" python3 -m venv --system-site-packages $venv
chroot "$root" env PIP_CONFIG_FILE=/dev/null $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir \
  --no-index --find-links /opt/wheels --requirement /opt/wheels/requirements.txt
rm -rf "$root/opt/wheels"
# The checkout comes as a second disk: the import name through a .pth file, the command as pip would have written it.
site=$(chroot "$root" $venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo /opt/endoedge/checkout >"$root$site/endoedge-checkout.pth"
printf '#!%s/bin/python\nimport sys\n\nfrom edge.cli import main\n\nsys.exit(main())\n' $venv >"$root$venv/bin/endoedge"
chmod 755 "$root$venv/bin/endoedge"

# GStreamer looks through all its plugins once and keeps the list where the core's unit has its cache. Emulated, that
# takes a minute of each boot.
chroot "$root" env XDG_CACHE_HOME=/var/cache/endoedge gst-inspect-1.0 >/dev/null

echo "I: twin: disk image"
chroot "$root" update-initramfs -u -k all >/dev/null
cp "$root"/boot/vmlinuz-* "$out/kernel"
cp "$root"/boot/initrd.img-* "$out/initrd"
chroot "$root" dpkg-query -W >"$out/packages.txt"
rm -rf "$root"/boot/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/etc/machine-id
: >"$root/etc/machine-id"  # empty: made at each boot, kept in memory
rm -f "$root/etc/resolv.conf"
# A bind mount shows the root without what is mounted in it (/proc, /sys, /dev).
mkdir "$out/bare"
mount --bind "$root" "$out/bare"
size=$(du -sm "$out/bare" | cut -f1)
mke2fs -q -t ext4 -O ^has_journal -L root -d "$out/bare" "$out/root.img" "$((size * 12 / 10 + 512))M"
umount "$out/bare"
rmdir "$out/bare"
chown --reference="$out" "$out"/*
