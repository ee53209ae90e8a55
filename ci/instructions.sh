#!/bin/sh
# Instructions of single operations, counted by valgrind, beside those in benches/instructions.txt: noise cannot touch them.
# Fails if one has grown by more than 3 %, or by more than 15 % under another compiler than the one they were counted with.
# Usage: ci/instructions.sh          compares
#        ci/instructions.sh update   writes the file anew
set -eu
cd "$(dirname "$0")/.."
expected=benches/instructions.txt
mode="${1:-compare}"
case $mode in
compare | update) ;;
*) echo "ci/instructions.sh: $mode: only \`update\`, or nothing" >&2; exit 2 ;;
esac
if ! command -v valgrind >/dev/null 2>&1; then
    echo "ci/instructions.sh: valgrind is not installed, so nothing is counted (apt-get install valgrind)" >&2
    exit 1
fi

cargo build --quiet --release --example instructions
program="${CARGO_TARGET_DIR:-target}/release/examples/instructions"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# What so many runs of a case execute within a function.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$work/out" --collect-atstart=no \
        "--toggle-collect=*instructions::measured_$2" "$program" "$1" "$3" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; exit 1; }
    sed -n 's/^\(totals\|summary\): //p' "$work/out" | head -n 1
}

# Per message: the difference of two lengths, so that whatever happens once does not count.
per_message() {
    first="$(count "$1" "$2" 100)"
    second="$(count "$1" "$2" 300)"
    [ "$second" -gt "$first" ] || { echo "ci/instructions.sh: measured_$2 is not found in $program" >&2; exit 1; }
    awk -v few="$first" -v many="$second" -v messages="$3" \
        'BEGIN { printf "%.1f\n", (many - few) / 200 / messages }'
}

{
    echo "# Instructions of an operation, for one message of 64 bytes. Written by \`ci/instructions.sh update\`."
    echo "# $(uname -m), $(rustc --version)"
    for kind in exclusive shared; do
        for operation in publish claim ack; do
            echo "$kind $operation $(per_message "$kind" "$operation" 32)"
        done
        echo "$kind empty_poll $(per_message "$kind" empty_poll 1)"
        for operation in publish_batch claim_ack_batch; do
            echo "$kind $operation $(per_message "$kind-batch" "$operation" 32)"
        done
    done
} >"$work/found"

if [ "$mode" = update ]; then
    cp "$work/found" "$expected"
    cat "$expected"
    exit
fi
tolerance=3
if [ "$(sed -n 2p "$expected")" != "$(sed -n 2p "$work/found")" ]; then
    tolerance=15
    echo "counted with another compiler or CPU: $(sed -n 2p "$expected")"
fi
awk -v tolerance="$tolerance" '
    /^#/ { next }
    NR == FNR { expected[$1 " " $2] = $3; next }
    {
        key = $1 " " $2
        if (!(key in expected)) { printf "%-26s %8.1f  not in the file: update it\n", key, $3; failed = 1; next }
        growth = ($3 / expected[key] - 1) * 100
        verdict = growth > tolerance ? "GREW" : growth < -tolerance ? "shrank: update the file" : "as expected"
        if (growth > tolerance) failed = 1
        printf "%-26s %8.1f  %8.1f  %+6.1f %%  %s\n", key, expected[key], $3, growth, verdict
    }
    END { if (failed) print "more instructions than in benches/instructions.txt: find out why, or `ci/instructions.sh update`"; exit failed }
' "$expected" "$work/found"
