#!/bin/sh
# A Debian 12 with nothing on it, to try things in.
#
#   scripts/room.sh make DIR [PACKAGE]...    its root, of the required packages, apt and these
#   scripts/room.sh run DIR COMMAND...       a command in it
#
#   ROOM_RUST=yes    with this host's Rust at /opt/rust, read-only
#
# The command has namespaces of its own for mounts, processes and the network; by slirp4netns it reaches
# out, and nothing reaches in. What it mounts and starts ends with it. The host's devices and control
# groups are there, for containers. Who reads this host's own authorities is not told of them, unless
# its certificates come along: they do.
set -eu

die() { echo "room: $*" >&2; exit 1; }

mirror=http://deb.debian.org/debian

make() {
    packages=ca-certificates
    for package; do packages=$packages,$package; done
    mmdebstrap --quiet --variant=minbase --include="$packages" bookworm "$dir" $mirror ||
        die "mmdebstrap makes no Debian: scripts/deps.sh room"
    find /usr/local/share/ca-certificates -name '*.crt' -exec cp -t "$dir/usr/local/share/ca-certificates" {} + 2>/dev/null || true
    chroot "$dir" update-ca-certificates >/dev/null 2>&1
    echo "deb $mirror bookworm main
deb $mirror-security bookworm-security main" >"$dir/etc/apt/sources.list"
    echo 'nameserver 10.0.2.3' >"$dir/etc/resolv.conf"   # slirp4netns's
    mkdir -p "$dir/opt/rust"
}

run() {
    # A network namespace that slirp4netns finds by this process.
    unshare --net --mount --pid --fork --kill-child --propagation private "$0" inside "$dir" "$@" &
    inside=$!
    slirp=
    trap 'kill $inside $slirp 2>/dev/null || true' EXIT
    trap 'exit 1' INT TERM
    until [ "$(readlink /proc/$inside/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do
        [ -e /proc/$inside ] || die "unshare failed"
        sleep 0.05
    done
    slirp4netns --configure --disable-host-loopback $inside tap0 >/dev/null 2>&1 & slirp=$!
    wait $inside && code=0 || code=$?
    exit $code
}

inside() {
    ip link set lo up
    tries=200
    until ip route | grep -q ^default; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || die "slirp4netns gives no network: scripts/deps.sh room"
        sleep 0.05
    done
    mount --bind "$dir" "$dir"
    if [ "${ROOM_RUST:-}" = yes ]; then
        mount --bind "$(rustc --print sysroot)" "$dir/opt/rust"
        mount -o remount,bind,ro "$dir/opt/rust"
    fi
    mount -t proc proc "$dir/proc"
    mount -t sysfs sysfs "$dir/sys"
    mount --rbind /sys/fs/cgroup "$dir/sys/fs/cgroup"
    mount --rbind /dev "$dir/dev"
    mount -t tmpfs tmpfs "$dir/run"
    cd "$dir"
    # Not chroot: what makes containers must be able to pivot_root as well.
    pivot_root . mnt
    umount -l /mnt
    cd /
    exec env -i HOME=/root LANG=C.UTF-8 PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

[ "$(id -u)" = 0 ] || die "run me as root"
[ $# -ge 2 ] || die "usage: room.sh make DIR [PACKAGE]... | room.sh run DIR COMMAND..."
what=$1 dir=$2
shift 2
case $what in
    make | run | inside) $what "$@" ;;
    *) die "I know only make and run, not $what" ;;
esac
