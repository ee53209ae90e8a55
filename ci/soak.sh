#!/bin/sh
# Kills, pauses, forks and restarts processes on one queue, and checks that every promise held.
# Usage: ci/soak.sh [duration: 60s, 10m, 2h; default 60s] [seed, default from the clock] [more arguments of slipring-soak]
#
# The same seed gives the same roles, kills and pauses at the same times, not the same interleaving. A run that fails
# ends with 1 and keeps the queue and the journals; it says where. Workers also die at chosen accesses to the mapping,
# which signals from outside seldom hit; with SOAK_FEATURES= they do not, and the library is as users build it.
set -eu
cd "$(dirname "$0")/.."
duration="${1:-60s}"
number="${duration%[smh]}"
case "$duration" in
    *h) seconds=$((number * 3600)) ;;
    *m) seconds=$((number * 60)) ;;
    *) seconds=$((number)) ;;
esac
seed="${2:-}"
shift "$(($# < 2 ? $# : 2))"
cargo build --release --quiet -p slipring-soak --features "${SOAK_FEATURES-crash-points}"
target="${CARGO_TARGET_DIR:-target}"
exec "$target/release/slipring-soak" --seconds "$seconds" ${seed:+--seed "$seed"} "$@"
