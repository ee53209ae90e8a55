#!/bin/sh
# The thread tests under ThreadSanitizer, on the installed nightly. Says plainly when there is none.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "ci/tsan.sh: no nightly toolchain here, ThreadSanitizer not run"
    exit 0
fi
# The standard library is not instrumented, hence the ABI switch and the suppressions; it does not understand fences, so
# only what is handed over on a word is checked.
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
export TSAN_OPTIONS="suppressions=$PWD/ci/tsan.supp"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/tsan"
host="$(rustc -vV | sed -n 's/^host: //p')"
exec cargo +nightly test --target "$host" --test behaviour --test exclusive -- heap
