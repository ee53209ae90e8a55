#!/bin/sh
# Layout, heap memory and whole in-memory queues under Miri, which sees undefined behaviour that nothing else does.
# Says plainly when the nightly has no Miri. Usage: ci/miri.sh [test name filter]
#
# Not run yet where it was written: there was no Miri. Miri maps no files and knows no fork, OFD locks or MADV_WIPEONFORK,
# so the portable fallback stands for `sys/linux.rs`, and only queues in heap memory take part: the behaviours named
# heap:: of tests/behaviour.rs and tests/exclusive.rs, and the library's unit tests without files.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "ci/miri.sh: no Miri in the nightly toolchain here, not run"
    exit 0
fi
export RUSTFLAGS="--cfg slipring_fallback"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/miri"
# Real clocks and /dev/urandom; and a test's watchdog may still be ending when the test has.
flags="-Zmiri-disable-isolation -Zmiri-ignore-leaks"
# Megabytes and many threads are too much for an interpreter; and one of these opens its queue twice, so it needs a file.
slow="--skip many_threads --skip every_length --skip wrap_around --skip full_arena --skip leaked_delivery"
# Under both models of what pointers may do; under each, other interleavings and other weak loads.
for model in "" "-Zmiri-tree-borrows"; do
    export MIRIFLAGS="$flags $model"
    cargo +nightly miri test --lib -- "${1:-}" --skip file:: --skip path:: --skip sys::
    # shellcheck disable=SC2086 # one argument per word
    cargo +nightly miri test --test behaviour --test exclusive -- heap::"${1:-}" $slow
done
