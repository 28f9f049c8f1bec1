#!/bin/sh
# Called by mmdebstrap with the new root: makes it boot straight to the job that
# the third disk brings, with a rootless user, and nothing that only costs time.
set -eu
root=$1

echo firn-guest > "$root/etc/hostname"
echo '127.0.0.1 localhost firn-guest' > "$root/etc/hosts"
: > "$root/etc/machine-id"
printf '/dev/vda / ext4 rw 0 0\n/dev/vdb /srv ext4 ro,nofail 0 0\n' > "$root/etc/fstab"
chroot "$root" passwd --quiet --delete root

# A user with subordinate ids and a session that is always there, which may
# divide up every controller.
chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 user
for file in subuid subgid; do
    echo user:100000:65536 > "$root/etc/$file"
done
mkdir -p "$root/var/lib/systemd/linger" "$root/etc/systemd/system/user@.service.d"
: > "$root/var/lib/systemd/linger/user"
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' > "$root/etc/systemd/system/user@.service.d/delegate.conf"

units=$root/etc/systemd/system
# What a machine of its own has a use for, and a guest that lives for a minute has not.
for unit in apparmor.service apt-daily.timer apt-daily-upgrade.timer containerd.service cron.service \
    docker.service docker.socket dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    getty.target logrotate.timer man-db.timer nftables.service podman.service podman-restart.service podman.socket \
    podman-auto-update.timer podman-clean-transient.service serial-getty@ttyS0.service serial-getty@hvc0.service \
    modprobe@drm.service netavark-dhcp-proxy.service netavark-dhcp-proxy.socket nix-daemon.socket nix-daemon.service sys-kernel-debug.mount sys-kernel-tracing.mount \
    systemd-firstboot.service systemd-hwdb-update.service systemd-networkd.service systemd-networkd-wait-online.service \
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-pstore.service systemd-remount-fs.service systemd-sysusers.service systemd-timesyncd.service \
    systemd-update-done.service systemd-journal-catalog-update.service ldconfig.service \
    systemd-boot-update.service systemd-tpm2-setup.service systemd-tpm2-setup-early.service; do
    ln -sfn /dev/null "$units/$unit"
done

cat > "$units/firn-job.target" <<'UNIT'
[Unit]
Description=The job of the third disk
Requires=multi-user.target
After=multi-user.target user@1000.service
Wants=firn-job.service user@1000.service
AllowIsolate=yes
UNIT
# Its console comes with a module that udev may load after everything else.
cat > "$units/firn-job.service" <<'UNIT'
[Unit]
Requires=dev-hvc0.device
After=multi-user.target user@1000.service dev-hvc0.device
[Service]
ExecStart=/usr/local/sbin/firn-job
Environment=HOME=/root TERM=linux USER=root LANG=C.UTF-8
StandardInput=tty-force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/hvc0
Delegate=yes
TasksMax=infinity
LimitNOFILE=65536
KillMode=process
UNIT
# Where a job does not begin, the console's log shows what each process waits for.
cat > "$units/firn-watch.service" <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/usr/local/sbin/firn-watch
UNIT
mkdir -p "$units/sysinit.target.wants"
ln -sfn ../firn-watch.service "$units/sysinit.target.wants/firn-watch.service"
ln -sfn firn-job.target "$units/default.target"

# The job is a tar archive with a program `start`; what that leaves in
# /run/results goes back as a tar archive on the fourth disk.
cat > "$root/usr/local/sbin/firn-job" <<'JOB'
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
echo firn: unpacking the job > /dev/kmsg
mkdir -p /var/firn /run/results
cd /var/firn
tar -xf /dev/vdc
echo firn: the job begins > /dev/kmsg
: > /run/firn-began
./start
echo $? > /run/results/status
tar -C /run/results -cf /dev/vdd .
sync /dev/vdd
systemctl poweroff --force --force
JOB
cat > "$root/usr/local/sbin/firn-watch" <<'WATCH'
#!/bin/sh
sleep 120
[ ! -e /run/firn-began ] || exit 0
for process in /proc/[0-9]*; do
    # Kernel threads have no command line.
    line=$(tr '\0' ' ' < "$process/cmdline" 2>/dev/null) && [ -n "$line" ] || continue
    { echo "firn: ${process#/proc/} $line"; sed 's/^/firn:     /' "$process/stack"; } > /dev/ttyS0 2>&1
done
WATCH
chmod 755 "$root/usr/local/sbin/firn-job" "$root/usr/local/sbin/firn-watch"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
