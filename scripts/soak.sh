#!/bin/sh
# The whole-system suites, HULL_SOAK times (10), until one fails.
set -eu
rounds=${HULL_SOAK:-10}
round=1
while [ "$round" -le "$rounds" ]; do
    echo "soak: round $round of $rounds"
    cargo test -q -p tests -- --test-threads=1
    round=$((round + 1))
done
