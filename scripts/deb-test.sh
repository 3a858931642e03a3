#!/bin/sh
# The package on a Debian 12 with nothing on it: installed by apt, used behind both walls, purged.
#
#   scripts/deb-test.sh
#
#   HULL_BIN_DIR      the programs to package (target/hull/bin)
set -eu

cd "$(dirname "$0")/.."
scripts/deps.sh room
room=$(mktemp -d /var/tmp/hull-room.XXXXXX)
trap 'rm -rf --one-file-system "$room"' EXIT
trap 'exit 1' INT TERM
scripts/room.sh make "$room"
mv "$(scripts/deb.sh "$room/root")" "$room/root/hull.deb"
scripts/busybox-image.sh "$room/root/busybox"
tar -C "$room/root/busybox" -cf "$room/root/busybox.tar" .
cat >"$room/root/steps.sh" <<'STEPS'
set -eux
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The guest's programs are Recommends; what they recommend in turn is a desktop's.
apt-get install -qq -y --no-install-recommends /root/hull.deb "$@" >/dev/null
getent group hull
zcat /usr/share/man/man1/hull-run.1.gz >/dev/null
/usr/lib/hull/vm-kernel
setsid hulld </dev/null >/root/hulld.log 2>&1 &
tries=300
until hull version; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { cat /root/hulld.log; exit 1; }
    sleep 0.1
done
[ "$(stat -c '%G %a' /run/hull/hull.sock)" = 'hull 660' ]
id=$(hull load -q -i /root/busybox.tar | sed 's/^Loaded image[^:]*: *//')
hull tag "$id" busybox
hull doctor
[ "$(hull run --rm busybox uname -r)" = "$(uname -r)" ]
[ "$(hull run --rm --isolation=hyperv busybox uname -r)" != "$(uname -r)" ]
# Purged while containers run.
hull run -d --restart always busybox sleep 1000
hull run -d --isolation=hyperv -v kept:/kept -p 80 busybox sleep 1000
apt-get purge -qq -y hull >/dev/null
! grep -qxE 'hulld|hull-vmwp|hull-share|containerd-shim.*|sleep' /proc/[0-9]*/comm
! getent group hull
[ -z "$(nft list tables)" ]
[ ! -e /sys/class/net/hull0 ]
apt-get purge -qq -y "$@" >/dev/null
left=$(find / -xdev -name '*hull*' -not -path '/root/*' -not -path '/var/log/*')
[ -z "$left" ]
: the package comes, works and goes
STEPS
# shellcheck disable=SC2046
scripts/room.sh run "$room" sh /root/steps.sh $(scripts/deps.sh names vm)
