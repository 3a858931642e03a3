#!/bin/sh
# What needs many rounds to fail.
#
#   HULL_SOAK_CYCLES   containers made by a runtime that is killed again and again (5000)
#   HULL_SOAK_CRASHES  times that an engine is killed under load (200)
#   HULL_SOAK_CONTAINERS  containers at once (500)
#   HULL_SOAK_NAMES    containers on one network that come and go (300)
#   HULL_SOAK_NETWORKS  networks that a container joins and leaves (1000)
#   HULL_SOAK_SEED     the choices of a run that is to be repeated
#   HULL_DEFAULT_ISOLATION  the wall of containers that ask for none, of any run of the suite
#   HULL_SOAK          rounds of all whole-system suites afterwards (10)
set -eu

HULL_SOAK_CYCLES=${HULL_SOAK_CYCLES:-5000}
export HULL_SOAK_CYCLES
echo "soak: $HULL_SOAK_CYCLES containers, eight at a time, by a runtime that is killed"
cargo test -q -p tests --test oci -- --nocapture soak::
unset HULL_SOAK_CYCLES

HULL_SOAK_CRASHES=${HULL_SOAK_CRASHES:-200}
HULL_SOAK_CONTAINERS=${HULL_SOAK_CONTAINERS:-500}
export HULL_SOAK_CRASHES HULL_SOAK_CONTAINERS
echo "soak: hulld killed $HULL_SOAK_CRASHES times, $HULL_SOAK_CONTAINERS containers at once"
cargo test -q -p tests --test docker -- outlives_any_crash many_containers
unset HULL_SOAK_CRASHES HULL_SOAK_CONTAINERS

HULL_SOAK_CONTAINERS=${HULL_SOAK_NAMES:-300}
HULL_SOAK_NETWORKS=${HULL_SOAK_NETWORKS:-1000}
export HULL_SOAK_CONTAINERS HULL_SOAK_NETWORKS
echo "soak: $HULL_SOAK_CONTAINERS containers on one network, $HULL_SOAK_NETWORKS networks joined and left"
cargo test -q -p tests --test docker -- churn::
unset HULL_SOAK_CONTAINERS HULL_SOAK_NETWORKS

echo "soak: every Dockerfile of the suite behind both walls"
HULL_SOAK_BUILDS=1 cargo test -q -p tests --test docker -- every_instruction very_many_files

echo "soak: the stock client's suite where containers that ask for no wall get a VM"
HULL_DEFAULT_ISOLATION=hyperv cargo test -q -p tests --test docker

echo "soak: from nothing: the quickstart, and the package, each on a new Debian"
scripts/quickstart-record.sh
scripts/deb-test.sh

rounds=${HULL_SOAK:-10}
round=1
while [ "$round" -le "$rounds" ]; do
    echo "soak: round $round of $rounds"
    cargo test -q -p tests -- --test-threads=1
    round=$((round + 1))
done
