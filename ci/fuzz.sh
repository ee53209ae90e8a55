#!/bin/sh
# Fuzzes each target for a while. Usage: ci/fuzz.sh [seconds per target, default 30]
set -eu
cd "$(dirname "$0")/.."
seconds="${1:-30}"
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --version 0.13.2 --locked --debug --quiet
for target in fuzz/fuzz_targets/*.rs; do
    # Without a sanitizer, so that the stable toolchain does; the library's own checks are what is fuzzed.
    name="$(basename "$target" .rs)"
    # New inputs go to the first directory, so that the tree stays clean.
    mkdir -p "target/fuzz-corpus/$name"
    cargo fuzz run --sanitizer none "$name" "target/fuzz-corpus/$name" "fuzz/corpus/$name" -- -max_total_time="$seconds" -verbosity=0 \
        -print_final_stats=1
done
