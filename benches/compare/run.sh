#!/bin/sh
# Builds every rival that this machine can build, and measures them beside slipring.
# Usage: benches/compare/run.sh [more arguments of slipring bench compare]
#
# FEATURES, if set, is more to build, such as aeron, which needs more than a compiler.
# RIVALS, if set, is the names to run, parted by blanks; else all. What cannot run here is listed with the reason.
set -eu
cd "$(dirname "$0")/../.."
features="${FEATURES:-}"
if command -v c++ >/dev/null; then
    features="${features:+$features,}zeromq"
else
    echo "run.sh: no C++ compiler: without zeromq" >&2
fi
toolchain=""
# shaq as it is now, rather than its last version for older compilers.
for candidate in "" +nightly; do
    # shellcheck disable=SC2086 # no toolchain is no argument
    minor="$(rustc $candidate --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')"
    if [ "${minor:-0}" -ge 97 ]; then
        toolchain="$candidate"
        features="${features:+$features,}shaq-5"
        break
    fi
done
# shellcheck disable=SC2086 # no toolchain is no argument
cargo $toolchain build --release --quiet --manifest-path benches/compare/Cargo.toml --features "$features"
cargo build --release --quiet -p slipring-cli
rivals="${CARGO_TARGET_DIR:-benches/compare/target}/release/rivals"
slipring="${CARGO_TARGET_DIR:-target}/release/slipring"
list="$(mktemp)"
trap 'rm -f "$list"' EXIT
for name in ${RIVALS:-$("$rivals" list)}; do
    echo "$rivals $name"
done >"$list"
"$slipring" bench compare --rivals "$list" "$@"
