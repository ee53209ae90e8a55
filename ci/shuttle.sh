#!/bin/sh
# Seeded random schedules with deaths, on the library's own code. Usage: ci/shuttle.sh [seconds, default 20] [first seed]
# One execution again, told step by step, by the seed that a failure prints: ci/shuttle.sh seed <seed>
set -eu
cd "$(dirname "$0")/.."
if [ "${1:-}" = seed ]; then
    export SLIPRING_SHUTTLE_SEED="$2" SLIPRING_SHUTTLE_EXECUTIONS=1 SLIPRING_SHUTTLE_TRACE=1
else
    export SLIPRING_SHUTTLE_SECONDS="${1:-20}"
    if [ -n "${2:-}" ]; then export SLIPRING_SHUTTLE_SEED="$2"; fi
fi
# Optimised, with debug assertions, as the models are.
exec cargo test --profile loom -p shuttle-tests --features crash-points --test schedules -- --nocapture
