#!/bin/sh
# One image behind both walls, shown with the stock docker client. `make quickstart` runs it.
#
#   scripts/quickstart.sh             show it; the engine stays, the demonstration's containers go
#   scripts/quickstart.sh stop        stop the engine that the above left
#
# Needs no internet: the image is Debian's busybox, served by Debian's docker-registry on loopback.
# Every command that it shows is the one it runs.
set -eu

bin=${HULL_BIN_DIR:-target/hull/bin}
kernels=${HULL_KERNEL_DIR:-target/hull/kernel}
run=/run/hull
work=/run/hull-quickstart
registry=127.0.0.1:5055
image=$registry/busybox
DOCKER_HOST=unix://$run/hull.sock
export DOCKER_HOST

if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
else bold='' dim='' plain=''; fi

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s# %s%s\n' "$dim" "$*" "$plain"; }
die() { echo "quickstart: $*" >&2; exit 1; }
# Shows a command and runs it.
show() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; "$@"; }
# Shows a command, runs it, and keeps what it prints, shown too, in $said.
ask() {
    printf '%s$ %s%s\n' "$dim" "$*" "$plain"
    said=$("$@") || die "that failed; the engine's log is $work/hulld.log"
    printf '%s\n' "$said"
}
# Waits until a command succeeds, for 30 seconds.
await() {
    what=$1; shift; tries=300
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || die "$what does not answer; see $work"
        sleep 0.1
    done
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

for program in hulld hull-runtime hull-agent containerd-shim-hull-v2; do
    [ -x "$bin/$program" ] || die "$bin/$program is missing: make build"
done
kernel=$(find "$kernels/boot" -name 'vmlinuz-*' 2>/dev/null | sort | tail -n 1)
[ -n "$kernel" ] || die "no kernel in $kernels: make guest-kernel"
release=${kernel##*/vmlinuz-}
mkdir -p "$work"
cleanup() {
    docker rm -f quick-process quick-hyperv >/dev/null 2>&1 || true
    end "$work/registry.pid" docker-registry
}
trap cleanup EXIT
trap 'exit 1' INT TERM

title "An image, in a registry on this machine"
cat >"$work/registry.yml" <<CONFIG
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: $registry}
CONFIG
end "$work/registry.pid" docker-registry
setsid docker-registry serve "$work/registry.yml" </dev/null >"$work/registry.log" 2>&1 &
echo $! >"$work/registry.pid"
scripts/busybox-image.sh "$work/busybox"
await docker-registry busybox wget -q -O /dev/null "http://$registry/v2/"
show skopeo --insecure-policy copy -q --dest-tls-verify=false \
    "oci:$work/busybox:latest" "docker://$image:latest"

title "The engine"
if docker version >/dev/null 2>&1; then
    note "hulld runs already on $run/hull.sock"
else
    printf '%s$ hulld --vm-kernel %s &%s\n' "$dim" "$kernel" "$plain"
    setsid "$bin/hulld" --vm-kernel "$kernel" --vm-modules "$kernels/lib/modules/$release" \
        </dev/null >"$work/hulld.log" 2>&1 &
    echo $! >"$work/hulld.pid"
    await hulld docker version
fi
show export DOCKER_HOST="$DOCKER_HOST"
ask docker version --format 'client {{.Client.Version}}, server {{.Server.Version}}, API {{.Server.APIVersion}}'
docker rm -f quick-process quick-hyperv >/dev/null 2>&1 || true
show docker pull "$image"

title "One image, two kernels"
note "the first VM waits for a template to be made; later ones start from it"
ask uname -r; host_kernel=$said
ask docker run --rm --isolation=process "$image" uname -r; process_kernel=$said
ask docker run --rm --isolation=hyperv "$image" uname -r; vm_kernel=$said

title "One command, two walls"
show docker run -d --name quick-process --isolation=process "$image" ping localhost
show docker run -d --name quick-hyperv --isolation=hyperv "$image" ping localhost
show docker ps --format 'table {{.Names}}\t{{.Image}}\t{{.Command}}\t{{.Status}}'

title "What docker sees, and what the host sees"
ask docker top quick-process -o pid,comm; process_top=$(printf '%s\n' "$said" | sed -n 2p | xargs)
ask docker top quick-hyperv -o pid,comm; vm_top=$(printf '%s\n' "$said" | sed -n 2p | xargs)
ask pgrep -l -x ping; pings=$said
ask pgrep -l -x hull-vmwp; workers=$said

worker=$(docker inspect -f '{{.State.Pid}}' quick-hyperv)
# The rows of a pgrep that are about a process, and those that are not.
about() { printf '%s\n' "$1" | grep "^$2 " || echo "not there"; }
others() { printf '%s\n' "$1" | grep -v "^$2 " | xargs | grep . || echo "not there"; }
row() { printf '  %-26s %-22s %s\n' "$1" "$2" "$3"; }
echo
row "" "process" "hyperv"
row "kernel" "$process_kernel" "$vm_kernel"
row "the host's kernel" "$host_kernel" "$host_kernel"
row "docker top" "$process_top" "$vm_top"
row "the host's ps: ping" "$(about "$pings" "${process_top%% *}")" "$(others "$pings" "${process_top%% *}")"
row "the host's ps: hull-vmwp" "$(others "$workers" "$worker")" "$(about "$workers" "$worker")"

title "Yours now"
cat <<HINT
  export DOCKER_HOST=$DOCKER_HOST
  docker run --rm -it --isolation=hyperv $image sh
  docker run --rm -it --isolation=process $image sh

  $work/hulld.log has the engine's log; scripts/quickstart.sh stop ends it.
HINT
