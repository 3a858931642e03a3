#!/bin/sh
# Fuzzes what reads an attacker's bytes: configurations, seccomp profiles, mount options, a guest's messages.
#
#   scripts/fuzz.sh [TARGET]...    FUZZ_SECONDS=N for each (60)
#
# Needs no nightly compiler: without a sanitizer (safe code has no use for one) the instrumentation is
# stable's. What is found stays in fuzz/corpus and fuzz/artifacts; `cargo fuzz run TARGET FILE` repeats it.
set -eu

cd "$(dirname "$0")/../fuzz"
tools=$PWD/target/tools
PATH=$tools/bin:$PATH

cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --root "$tools" --version ^0.13 cargo-fuzz
[ $# -gt 0 ] || set -- config seccomp mount_options wire

mkdir -p corpus/config
cp ../crates/runtime/src/command/config.json corpus/config/template
for target; do
    mkdir -p "corpus/$target"
    cargo fuzz run --sanitizer none "$target" -- -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10
done
