#!/bin/sh
# The public API is what docs/api.txt says: a change to one without the other fails. Usage: ci/api.sh [update]
# Needs a nightly toolchain for rustdoc's JSON, and says plainly when there is none.
set -eu
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "ci/api.sh: no nightly toolchain here, public API not compared"
    exit 0
fi
command -v cargo-public-api >/dev/null || cargo install cargo-public-api --version 0.52.0 --locked --debug --quiet
# Some of the API lives in modules that the documentation hides, and is exported from them: they are listed too, and
# then left out but for what is known under a public name, which they list a second time.
export RUSTDOCFLAGS="--document-hidden-items -Zunstable-options"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/api"
mkdir -p "$CARGO_TARGET_DIR"
listed="$CARGO_TARGET_DIR/listed.txt"
# -ss: derived traits are part of what users rely on, auto traits are not listed. What a derive writes is left out below,
# and so is what only this nightly knows.
cargo +nightly public-api --package slipring -ss >"$listed"
awk '
    { path = $0; sub(/^.*for slipring::/, "slipring::", path) || sub(/^[^:]*slipring::/, "slipring::", path) }
    /TrivialClone|StructuralPartialEq|::assert_fields_are_eq\(/ { next }
    /::(clone|eq|fmt|hash|cmp|partial_cmp|default|source)\((&|\))/ { next }
    path ~ /^slipring::(layout|mem|ring|sync)(::|$)/ { next }
    { line[NR] = $0; last[$0] = NR }
    END { for (at = 1; at <= NR; at++) if (at in line && last[line[at]] == at) print line[at] }
' "$listed" >"$CARGO_TARGET_DIR/api.txt"
if [ "${1:-}" = update ]; then
    cp "$CARGO_TARGET_DIR/api.txt" docs/api.txt
    exit 0
fi
diff -u docs/api.txt "$CARGO_TARGET_DIR/api.txt" || {
    echo "ci/api.sh: the public API has changed; if it was meant to, ci/api.sh update, and a line in CHANGELOG.md"
    exit 1
}
echo "ci/api.sh: the public API is as listed, $(wc -l <docs/api.txt) lines"
