#!/bin/sh
# What needs many rounds to fail.
#
#   HULL_SOAK_CYCLES   containers made by a runtime that is killed again and again (5000)
#   HULL_SOAK          rounds of all whole-system suites afterwards (10)
set -eu

HULL_SOAK_CYCLES=${HULL_SOAK_CYCLES:-5000}
export HULL_SOAK_CYCLES
echo "soak: $HULL_SOAK_CYCLES containers, eight at a time, by a runtime that is killed"
cargo test -q -p tests --test oci -- --nocapture soak::
unset HULL_SOAK_CYCLES

rounds=${HULL_SOAK:-10}
round=1
while [ "$round" -le "$rounds" ]; do
    echo "soak: round $round of $rounds"
    cargo test -q -p tests -- --test-threads=1
    round=$((round + 1))
done
