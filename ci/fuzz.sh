#!/bin/sh
# Fuzzes each target for a while. Usage: ci/fuzz.sh [seconds per target, default 30]
set -eu
cd "$(dirname "$0")/.."
seconds="${1:-30}"
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked --debug --quiet
for target in fuzz/fuzz_targets/*.rs; do
    # Without a sanitizer, so that the stable toolchain does; the library's own checks are what is fuzzed.
    cargo fuzz run --sanitizer none "$(basename "$target" .rs)" -- -max_total_time="$seconds" -verbosity=0 \
        -print_final_stats=1
done
