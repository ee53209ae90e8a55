#!/bin/sh
# Weakens each memory ordering of the protocol and demands that a model misses it. Usage: see loom-tests/src/main.rs
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet -p loom-tests --bin orderings
orderings="${CARGO_TARGET_DIR:-target}/debug/orderings"
export RUSTFLAGS="--cfg slipring_loom"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}"
exec "$orderings" "$@"
