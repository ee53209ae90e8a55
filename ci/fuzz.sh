#!/bin/sh
# Fuzzes each target for a while. Usage: ci/fuzz.sh [--asan] [seconds per target, default 30]
# With --asan under AddressSanitizer, which needs a nightly toolchain.
set -eu
cd "$(dirname "$0")/.."
# Without a sanitizer, so that the stable toolchain does; the library's own checks are what is fuzzed.
toolchain=""
sanitizer=none
if [ "${1:-}" = --asan ]; then
    toolchain=+nightly
    sanitizer=address
    shift
fi
seconds="${1:-30}"
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --version 0.13.2 --locked --debug --quiet
for target in fuzz/fuzz_targets/*.rs; do
    name="$(basename "$target" .rs)"
    # New inputs go to the first directory, so that the tree stays clean.
    found="target/fuzz-corpus/$name"
    mkdir -p "$found"
    # An input that takes seconds is as bad as one that does not end. What fails lies in fuzz/artifacts.
    # shellcheck disable=SC2086 # no toolchain is no argument
    cargo $toolchain fuzz run --sanitizer "$sanitizer" "$name" "$found" "fuzz/corpus/$name" -- -max_total_time="$seconds" \
        -max_len=1500 -timeout=20 -verbosity=0 -print_final_stats=1 || {
        echo "ci/fuzz.sh: $name failed; what it failed on:" >&2
        ls -t "fuzz/artifacts/$name"/* >&2
        exit 1
    }
done
