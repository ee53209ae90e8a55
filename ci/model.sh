#!/usr/bin/env bash
# The Spin models in docs/model. Usage: ci/model.sh [full]
# Every configuration must be searched to the end and hold; every mutant must be found out. Says plainly when there is no Spin.
set -euo pipefail
cd "$(dirname "$0")/../docs/model"

if ! command -v spin >/dev/null 2>&1; then
    apt-get install -y spin >/dev/null 2>&1 || true
fi
for tool in spin gcc; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "ci/model.sh: no $tool here and it cannot be installed, models not run"
        exit 0
    fi
done

full="${1:-}"
if [ -n "$full" ] && [ "$full" != full ]; then
    echo "usage: ci/model.sh [full]" >&2
    exit 2
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
models="$PWD"
failed=0
printf '%-9s %-76s %12s %7s %6s  %s\n' model configuration states MB s result

# search <model> <defines> <flags of the compiler> <flags of the search>: leaves its output in $work/out.
search() {
    rm -rf "$work/run"
    mkdir "$work/run"
    cd "$work/run"
    # What Spin cannot read must not pass for a model that holds, nor for a mutant found out.
    # shellcheck disable=SC2086
    spin -a $2 "$models/$1.pml" >spin.out 2>&1 || { cat spin.out; exit 1; }
    # shellcheck disable=SC2086
    gcc -O2 -w -DVECTORSZ=768 -DMEMLIM=5500 $3 -o pan pan.c
    SECONDS=0
    # shellcheck disable=SC2086
    nice ./pan $4 >"$work/out" 2>&1 || true
    took=$SECONDS
    cd "$models"
    if ! grep -q 'errors: ' "$work/out"; then
        cat "$work/out"
        echo "ci/model.sh: $1 $2: the search did not run" >&2
        exit 1
    fi
    states="$(awk '/states, stored/ && !n { n = $1 } END { printf "%.0f", n }' "$work/out")"
    memory="$(awk '/total actual memory usage/ { printf "%.0f", $1 }' "$work/out")"
}

# Also when Spin says that it found nothing: a search cut off has not looked everywhere.
cut_off() {
    grep -qE 'Search not completed|max search depth too small|out of memory|reached -DMEMLIM|hash-?table full|resource exhausted' "$work/out"
}

line() {
    printf '%-9s %-76s %12s %7s %6s  %s\n' "$1" "$2" "$states" "$memory" "$took" "$3"
    case "$3" in "NOT "* | FOUND* | SURVIVED*) failed=1 ;; esac
}

holds_with() {
    search "$1" "$2" "$3" "$4"
    if ! grep -q 'errors: 0' "$work/out"; then
        grep -E '^pan:' "$work/out" || true
        line "$1" "$2" "FOUND AN ERROR"
    elif cut_off; then
        line "$1" "$2" "NOT EXHAUSTIVE"
    else
        line "$1" "$2" "$5"
    fi
}

exhaustive="-DSAFETY -DCOLLAPSE -DNOFAIR"
fair="-DCOLLAPSE -DNFAIR=3"
# Safety, in every state that can be reached.
holds() { holds_with "$1" "$2" "$exhaustive" "-m4000000" "holds"; }
# Progress under weak fairness, likewise.
proceeds() { holds_with "$1" "-DLIVENESS $2" "$fair" "-a -f -m4000000" "proceeds"; }
# A part of a configuration too large for that.
samples() {
    search "$1" "$2" "-DSAFETY -DBITSTATE -DNOFAIR" "-w30 -k3 -Q1 -m4000000"
    if grep -q 'errors: 0' "$work/out"; then
        line "$1" "$2" "no error in a sample (bitstate, not exhaustive)"
    else
        grep -E '^pan:' "$work/out" || true
        line "$1" "$2" "FOUND AN ERROR"
    fi
}
# A wrong protocol is found out; by an error and not by a search cut off.
killed_with() {
    search "$1" "$2" "$3" "$4"
    if grep -qE '^pan:[0-9]+: (assertion violated|acceptance cycle|invalid end state)' "$work/out"; then
        line "$1" "$2" "found out"
    else
        line "$1" "$2" "SURVIVED"
    fi
}
killed() { killed_with "$1" "$2" "$exhaustive" "-m4000000"; }
stuck() { killed_with "$1" "-DLIVENESS $2" "$fair" "-a -f -m4000000"; }

# shellcheck source=/dev/null
. "$models/configurations.sh"

if [ "$failed" != 0 ]; then
    echo "ci/model.sh: FAILED" >&2
    exit 1
fi
echo "ci/model.sh: all hold, all mutants found out"
