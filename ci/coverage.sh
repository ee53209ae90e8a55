#!/bin/sh
# Which lines of src/ the tests of library and command run: per file, in total, and, with an argument, the lines that none runs.
# Usage: ci/coverage.sh [missed]
#
# Needs llvm-profdata and llvm-cov of the compiler's LLVM: of the toolchain, if it has llvm-tools, or the system's
# (apt-get install llvm-22). Says plainly when there are none. Counters live in mapped files (%c), so that a process
# which is killed has counted until then; children of the tests count, too.
set -eu
cd "$(dirname "$0")/.."
major="$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')"
host="$(rustc -vV | sed -n 's/^host: //p')"
tools=
for place in "$(rustc --print sysroot)/lib/rustlib/$host/bin" "/usr/lib/llvm-$major/bin"; do
    if [ -x "$place/llvm-cov" ] && [ -x "$place/llvm-profdata" ]; then
        tools="$place"
        break
    fi
done
if [ -z "$tools" ]; then
    echo "ci/coverage.sh: no llvm-cov of LLVM $major here, coverage not measured"
    exit 0
fi
export RUSTFLAGS="-C instrument-coverage -C llvm-args=-runtime-counter-relocation"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/coverage"
mkdir -p "$CARGO_TARGET_DIR"
# The command's tests are the only ones of some of the library.
tests="-p slipring -p slipring-cli --features slipring/crash-points --tests"
profiles="$(cd "$CARGO_TARGET_DIR" && pwd)/profiles"
# shellcheck disable=SC2086 # $tests: one argument per word
# What runs while building counts elsewhere.
LLVM_PROFILE_FILE="$CARGO_TARGET_DIR/building.profraw" \
    cargo test $tests --no-run --message-format=json >"$CARGO_TARGET_DIR/built.json"
rm -rf "$profiles"
objects="$(sed -n 's/.*"executable":"\([^"]*\)".*/--object \1/p' "$CARGO_TARGET_DIR/built.json")"
# shellcheck disable=SC2086 # as above
LLVM_PROFILE_FILE="$profiles/%8m%c.profraw" cargo test $tests --quiet
"$tools/llvm-profdata" merge --sparse --failure-mode=warn "$profiles"/*.profraw -o "$profiles/all.profdata"
# shellcheck disable=SC2086 # as above
"$tools/llvm-cov" report $objects --instr-profile "$profiles/all.profdata" --sources src |
    awk '/^---/ || NF < 10 { next } { printf "%-28s %8s %8s %9s\n", $1, $8, $9, $10 }'
if [ "${1:-}" = missed ]; then
    # shellcheck disable=SC2086 # as above
    "$tools/llvm-cov" show $objects --instr-profile "$profiles/all.profdata" --sources src |
        awk -F'|' '/^[^ ].*\.rs:$/ { print } $2 ~ /^ *0$/ { print $1 "|" $3 }'
fi
