#!/bin/sh
# Called by mmdebstrap with the new root: makes it boot as a container, with
# nothing in it that a container has no use for.
set -eu
root=$1
ln -sfn sbin/init "$root/init"
: > "$root/etc/machine-id"
rm -f "$root/etc/hostname"
mkdir -p "$root/etc/systemd/system"
ln -sfn /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
for unit in systemd-resolved.service systemd-networkd.service systemd-timesyncd.service getty.target \
    console-getty.service systemd-pstore.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer sys-kernel-config.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount \
    systemd-remount-fs.service systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service \
    systemd-firstboot.service proc-sys-fs-binfmt_misc.automount; do
    ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done
rm -rf "$root/var/log/journal" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
