# Called with an empty folder, a Debian root with systemd, and a static busybox:
# fills the folder with what guests find at /srv.
tree=$1 debian=$2 busybox=$3
cp -a "$debian" "$tree/debian"

# An image of busybox in the format of `docker save`, which podman, ctr, skopeo
# and docker all load.
work=$tree/work
mkdir -p "$work/root/bin" "$work/root/etc" "$work/root/tmp" "$work/image"
cp "$busybox" "$work/root/bin/busybox"
for name in $("$busybox" --list); do
    [ "$name" = busybox ] || ln -s busybox "$work/root/bin/$name"
done
echo 'root:x:0:0:root:/root:/bin/sh' > "$work/root/etc/passwd"
echo 'root:x:0:' > "$work/root/etc/group"
chmod 1777 "$work/root/tmp"
tar -C "$work/root" --owner=0 --group=0 --mtime=@0 --sort=name -cf "$work/image/layer.tar" .
digest=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
cat > "$work/image/config.json" <<CONFIG
{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:$digest"]}}
CONFIG
echo '[{"Config":"config.json","RepoTags":["localhost/busybox:latest"],"Layers":["layer.tar"]}]' > "$work/image/manifest.json"
tar -C "$work/image" --owner=0 --group=0 -cf "$tree/busybox.tar" manifest.json config.json layer.tar
rm -r "$work"
