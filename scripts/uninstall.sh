#!/bin/sh
# Removes what running Hull left on this host: containers, the engine, images, volumes, networks, caches.
# `make uninstall` runs it before it removes the programs.
#
#   scripts/uninstall.sh
#   scripts/uninstall.sh stop    ends containers and engine; what they have on disk stays
#
#   HULL_EXEC_ROOT    hulld's --exec-root (/run/hull)
#   HULL_DATA_ROOT    hulld's --data-root (/var/lib/hull)
#   HULL_BIN_DIR      where the programs are that it is done with (/usr/local/bin)
#
# Asks nothing: volumes go too. What is not Hull's stays, and /etc/hull, which is the administrator's. Run
# again, it finds nothing more to do.
set -eu

run=${HULL_EXEC_ROOT:-/run/hull}
data=${HULL_DATA_ROOT:-/var/lib/hull}
bin=${HULL_BIN_DIR:-/usr/local/bin}
unset DOCKER_HOST HULL_HOST

die() { echo "uninstall: $*" >&2; exit 1; }
told() { echo "removed $*"; }

[ "$(id -u)" = 0 ] || die "run me as root"
case "$*" in '' | stop) ;; *) die "unknown argument $1; I know only: stop" ;; esac
case $run:$data in /*:/*) ;; *) die "want absolute directories, not $run and $data" ;; esac

# The engine's process, if it runs: the number in its lock, while that is still a hulld.
engine() {
    pid=$(cat "$run/hulld.pid" 2>/dev/null) || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = hulld ] && echo "$pid"
}

# Containers are the engine's to remove: it knows their processes, networks and mounts. One that is down
# is started for that, which finds them again.
if [ -e "$data/meta.redb" ] || [ -S "$run/hull.sock" ]; then
    hull="$bin/hull --host unix://$run/hull.sock"
    if ! engine >/dev/null; then
        [ -x "$bin/hulld" ] || die "containers may run, and $bin/hulld that could end them is missing: make install"
        # A process that is not a child of anything that waits for it.
        setsid "$bin/hulld" --exec-root "$run" --data-root "$data" </dev/null >/dev/null 2>&1 &
    fi
    tries=100
    until $hull version >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || die "the engine does not answer at $run/hull.sock: see its log"
        sleep 0.1
    done
    if [ "${1:-}" = stop ]; then
        containers=$($hull ps -q)
        # shellcheck disable=SC2086
        [ -z "$containers" ] || { $hull stop $containers >/dev/null; echo "stopped containers: $(echo "$containers" | wc -l)"; }
    else
        containers=$($hull ps -aq)
        # shellcheck disable=SC2086
        [ -z "$containers" ] || { $hull rm -f $containers >/dev/null; told "containers: $(echo "$containers" | wc -l)"; }
        networks=$($hull network ls -q --filter type=custom)
        # shellcheck disable=SC2086
        [ -z "$networks" ] || { $hull network rm $networks >/dev/null; told "networks: $(echo "$networks" | wc -l)"; }
    fi
    # systemd would start it again.
    if systemctl cat hulld.service >/dev/null 2>&1; then
        if [ "${1:-}" = stop ]; then
            systemctl stop hulld.socket hulld.service
        else
            systemctl disable --quiet --now hulld.socket hulld.service
        fi
        told "the services hulld.socket and hulld.service"
    fi
    if pid=$(engine); then
        # With no container left it takes its bridge and its rules away.
        kill "$pid"
        while [ -e "/proc/$pid/exe" ]; do sleep 0.05; done
        told "the engine, process $pid"
    fi
fi

[ "${1:-}" != stop ] || exit 0

# What is mounted beneath, deepest first.
awk -v run="$run/" -v data="$data/" \
    'index($5, run) == 1 || index($5, data) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
    while read -r at; do umount "$at" && told "the mount $at"; done
[ "$run" != /run/hull ] || set -- /run/hull-quickstart
for root in "$run" "$data" "$@"; do
    if [ -e "$root" ]; then rm -rf --one-file-system "$root" && told "$root"; fi
done
# Of every hierarchy, where nobody else has anything beneath.
find /sys/fs/cgroup -mindepth 1 -maxdepth 3 -type d -name hull 2>/dev/null |
    while read -r group; do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
