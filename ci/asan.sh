#!/bin/sh
# The tests under AddressSanitizer, leaks included, on the installed nightly. Says plainly when there is none.
# Usage: ci/asan.sh [all]: all takes those too that enumerate for minutes.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "ci/asan.sh: no nightly toolchain here, AddressSanitizer not run"
    exit 0
fi
# Some optimisation pays for the instrumentation; frames and checks stay.
export RUSTFLAGS="-Zsanitizer=address -Copt-level=1"
export LSAN_OPTIONS="suppressions=$PWD/ci/asan.supp:print_suppressions=0"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan"
host="$(rustc -vV | sed -n 's/^host: //p')"
test="cargo +nightly test --target $host --features crash-points"
# Mapped files, hostile headers, threads, child processes, pauses at every access; not the enumerations of deaths, and
# not those run instruction by instruction.
$test --lib --test asking --test behaviour --test dead_letters --test death --test exclusive --test fast_path \
    --test interleavings --test leases --test model --test open --test pause --test processes --test regressions
# A child forked from a thread has that thread only, and so none of the stacks that the others' memory hangs on.
LSAN_OPTIONS="detect_leaks=0" ASAN_OPTIONS="detect_leaks=0" $test --test forks
if [ "${1:-}" = all ]; then
    $test --test crash --test crash_dead --test single_step
fi
