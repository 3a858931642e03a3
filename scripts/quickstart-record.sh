#!/bin/sh
# `make quickstart` on a Debian 12 with nothing on it but make and Rust, from a clone, with nothing cached;
# then once more; then `make uninstall`. Shows and keeps what is printed.
#
#   scripts/quickstart-record.sh [TRANSCRIPT]     target/quickstart.txt
#
#   QUICKSTART_FIRST=N    seconds that the first may take (900)
#   QUICKSTART_AGAIN=N    seconds that the second may take (20)
#   QUICKSTART_BUILD=no   with the programs in HULL_BIN_DIR: all but the build
set -eu

cd "$(dirname "$0")/.."
transcript=${1:-${CARGO_TARGET_DIR:-target}/quickstart.txt}
first=${QUICKSTART_FIRST:-900}
again=${QUICKSTART_AGAIN:-20}

scripts/deps.sh room
room=$(mktemp -d /var/tmp/hull-room.XXXXXX)
trap 'rm -rf --one-file-system "$room"' EXIT
trap 'exit 1' INT TERM
scripts/room.sh make "$room" make
git clone --quiet --depth 1 "file://$PWD" "$room/root/hull"
if [ "${QUICKSTART_BUILD:-}" = no ]; then
    mkdir -p "$room/root/hull/target/hull"
    cp -r "${HULL_BIN_DIR:-$PWD/target/hull/bin}" "$room/root/hull/target/hull/bin"
fi
cat >"$room/root/steps.sh" <<'STEPS'
set -eu
cd /root/hull
slow=
# Runs a target and holds it to so many seconds; one that takes longer is told at the end.
timed() {
    limit=$1; shift
    echo "# $*"
    begin=$(date +%s)
    "$@" </dev/null 2>&1
    took=$(($(date +%s) - begin))
    echo "# $* took $took s of at most $limit s; load $(cut -d ' ' -f 1 /proc/loadavg) on $(nproc) processors"
    [ $took -le "$limit" ] || slow="$slow
# too slow: $* took $took s of at most $limit s"
}
timed "$1" make -s quickstart
timed "$2" make -s quickstart
timed 60 make -s uninstall
for left in /run/hull /run/hull-quickstart /var/lib/hull /sys/class/net/hull0; do
    [ ! -e $left ] || { echo "# make uninstall left $left"; exit 1; }
done
for name in hulld hull-vmwp hull-share containerd-shim; do
    ! grep -qx "$name.*" /proc/[0-9]*/comm || { echo "# make uninstall left a $name"; exit 1; }
done
[ -z "$(nft list tables)" ] || { echo "# make uninstall left $(nft list tables)"; exit 1; }
[ -z "$slow" ] || { echo "$slow"; exit 1; }
echo "# done"
STEPS
mkdir -p "$(dirname "$transcript")"
ROOM_RUST=yes scripts/room.sh run "$room" env QUICKSTART_BUILD="${QUICKSTART_BUILD:-}" sh /root/steps.sh "$first" "$again" >"$transcript" 2>&1 &
steps=$!
tail --pid=$steps -n +1 -f "$transcript"
wait $steps
