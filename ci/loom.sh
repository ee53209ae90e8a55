#!/bin/sh
# The models in loom-tests/. Usage: ci/loom.sh [test name filter]
set -eu
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg slipring_loom"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}"
exec cargo test --profile loom -p loom-tests -- "$@"
