#!/bin/sh
# Installs what is missing of the Debian packages for a purpose, and nothing that is there.
#
#   scripts/deps.sh run      to build Hull and run containers behind both walls
#   scripts/deps.sh test     run, and what the suites drive Hull with
#   scripts/deps.sh bench    run, and what Hull is measured against
#   scripts/deps.sh room     what makes a Debian with nothing on it, to try Hull in
#
#   scripts/deps.sh names engine|vm    prints what containers need, and virtual machines besides
#
# Quick when there is nothing to do. A service that a package would start stays stopped.
set -eu

die() { echo "deps: $*" >&2; exit 1; }

engine="ca-certificates e2fsprogs nftables"
vm="busybox-static erofs-utils kmod qemu-system-x86"
run="$engine $vm gcc iproute2 libc6-dev procps util-linux"
command -v docker >/dev/null || run="$run docker.io"

case "${1:-run} ${2:-}" in
    "names engine") echo "$engine"; exit 0 ;;
    "names vm") echo "$vm"; exit 0 ;;
esac

case ${1:-run} in
    run) packages=$run ;;
    test) packages="$run bzip2 chromium conmon containerd docker-compose docker-registry docker.io
             fonts-dejavu-core git libseccomp-dev openssl podman skopeo umoci xfsprogs xz-utils" ;;
    bench) packages="$run conmon containerd containernetworking-plugins crun docker-registry
             docker.io openssl podman runc skopeo time umoci" ;;
    room) packages="git iproute2 mmdebstrap slirp4netns util-linux" ;;
    *) die "no purpose is called $1: run, test, bench or room" ;;
esac

missing=
for package in $packages; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || die "missing:$missing; this script knows only Debian's apt-get"
[ "$(id -u)" = 0 ] || die "missing:$missing; run as root: apt-get install$missing"

# Debian's switch for "install, but start nothing"; only ours is taken away again.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
apt-get update -qq && apt-get install -qq -y --no-install-recommends $missing </dev/null >/dev/null
