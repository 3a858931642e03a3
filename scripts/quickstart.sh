#!/bin/sh
# From a bare Debian 12 to one image behind both walls. `make quickstart` runs it.
#
#   scripts/quickstart.sh             what is missing is made, then shown; the engine stays
#   scripts/quickstart.sh stop        stop the engine that the above left
#
#   QUICKSTART_BUILD=no               take the programs in HULL_BIN_DIR as they are
#
# Asks nothing. A step that is done already takes a moment. Each one's output goes to a log, and is
# shown when it fails. Needs no registry: the image is Debian's busybox.
set -eu

cd "$(dirname "$0")/.."
bin=${HULL_BIN_DIR:-$PWD/target/hull/bin}
kernels=${HULL_KERNEL_DIR:-$PWD/target/hull/kernel}
run=/run/hull
work=/run/hull-quickstart
image=busybox
unset DOCKER_HOST HULL_HOST

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m') again=$(printf '\r\033[K')
else bold='' plain='' again=''; fi
[ -z "${NO_COLOR:-}" ] || bold='' plain=''

die() { echo "quickstart: $*" >&2; exit 1; }

steps=6 at=0
# Does a step by a command, with its output in a log and its time on the screen.
step() {
    what=$1; shift
    at=$((at + 1)) begin=$(date +%s)
    log=$work/$at.log
    if [ -n "$again" ]; then
        "$@" </dev/null >"$log" 2>&1 & job=$!
        while kill -0 "$job" 2>/dev/null; do
            printf '%s[%s/%s] %-38s %4s s' "$again" $at $steps "$what" $(($(date +%s) - begin))
            sleep 0.2
        done
        wait "$job" && done=0 || done=$?
        job=
    else
        "$@" </dev/null >"$log" 2>&1 && done=0 || done=$?
    fi
    took=$(($(date +%s) - begin))
    if [ "$done" = 0 ]; then
        printf '%s[%s/%s] %-38s %4s s  done\n' "$again" $at $steps "$what" $took
        return
    fi
    printf '%s[%s/%s] %-38s %4s s  failed\n' "$again" $at $steps "$what" $took
    tail -n 20 "$log" | sed 's/^/    /' >&2
    die "$what failed with status $done; all that was said is in $log"
}

# Ends the process whose number a file holds, if it is still the program of that name.
end() {
    [ -f "$1" ] || return 0
    pid=$(cat "$1")
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]; then
        kill "$pid"
        while [ -e "/proc/$pid" ]; do sleep 0.05; done
    fi
    rm -f "$1"
}

[ "$(id -u)" = 0 ] || die "run me as root: containers need it"
[ "$(uname -m)" = x86_64 ] || die "only x86-64 for now"

if [ "${1:-}" = stop ]; then
    end "$work/hulld.pid" hulld
    ip link delete hull0 2>/dev/null || true
    nft delete table inet hull-hull0 2>/dev/null || true
    echo "The engine is stopped; images stay in /var/lib/hull."
    exit 0
fi
[ $# -eq 0 ] || die "unknown argument $1; I know only: stop"

programs() {
    if [ "${QUICKSTART_BUILD:-}" != no ]; then
        command -v cargo >/dev/null ||
            { echo "cargo is missing: install Rust from https://rustup.rs"; return 1; }
        make -s --no-print-directory build || return
    fi
    for program in hull hulld hull-runtime hull-agent containerd-shim-hull-v2; do
        [ -x "$bin/$program" ] || { echo "$bin/$program is missing: make build"; return 1; }
    done
}

answers() { [ -S $run/hull.sock ] && "$bin/hull" version; }
engine() {
    if answers >/dev/null 2>&1; then echo "it runs already"; return; fi
    kernel=$(find "$kernels/boot" -name 'vmlinuz-*' | sort | tail -n 1)
    setsid "$bin/hulld" --vm-kernel "$kernel" --vm-modules "$kernels/lib/modules/${kernel##*/vmlinuz-}" \
        </dev/null >"$work/hulld.log" 2>&1 &
    echo $! >"$work/hulld.pid"
    tries=300
    until answers >/dev/null 2>&1; do
        tries=$((tries - 1))
        if [ $tries = 0 ] || [ ! -e "/proc/$(cat "$work/hulld.pid")" ]; then
            cat "$work/hulld.log"
            return 1
        fi
        sleep 0.1
    done
}

load() {
    "$bin/hull" image inspect $image >/dev/null 2>&1 && return
    rm -rf "$work/busybox"
    scripts/busybox-image.sh "$work/busybox" &&
        tar -C "$work/busybox" -cf "$work/busybox.tar" . &&
        id=$("$bin/hull" load -q -i "$work/busybox.tar" | sed -n 's/^Loaded image[^:]*: *//p') &&
        { [ "$id" = "$image:latest" ] || "$bin/hull" tag "$id" $image; } || return
    rm -rf "$work/busybox" "$work/busybox.tar"
}

mkdir -p "$work"
job=
trap '[ -z "$job" ] || kill "$job" 2>/dev/null || true' EXIT
trap 'exit 1' INT TERM

printf '%sHull: from source to containers behind two walls%s\n' "$bold" "$plain"
step "packages of Debian" scripts/deps.sh run
step "programs, from source" programs
step "a kernel for virtual machines" scripts/vm-kernel.sh "$kernels"
step "the engine" engine
step "an image, of busybox" load
step "a virtual machine to start others from" "$bin/hull" run --rm --isolation=hyperv $image true

"$bin/hull" demo $image
cat <<HINT

  export PATH=$bin:\$PATH
  export DOCKER_HOST=unix://$run/hull.sock    # for docker

  $work/hulld.log is the engine's log. scripts/quickstart.sh stop ends it.
HINT
