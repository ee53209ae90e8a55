#!/bin/sh
# A queue for the tests of `slipring bench foreign`: a file, driven by the contract of docs/benchmarking.md, with at most
# 256 messages of 64 bytes. Of several consumers, the first gets all of them.
BROKEN=
set -eu

if [ "$1" = describe ]; then
    echo '{"name":"file","version":"0","kind":"processes","acked":false,"survives_kill":false,"mpmc":true,"durable":false,"blocking":true,"roles":["throughput"],"max_size":64,"notes":"for tests"}'
    exit 0
fi
role=$1 path=$2 size=$3 count=$4
[ "$size" = 64 ] || { echo "not 64 bytes" >&2; exit 2; }

byte() { printf "\\$(printf %03o "$1")"; }

# The number in the first eight bytes, its check in the last eight. The producer's index is in the highest two of these.
message() {
    byte "$1"; printf '\0\0\0\0\0'; byte "$2"; printf '\0'
    printf 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'
    byte $((0x95 ^ $1)); printf '\351\321\133\225\351'; byte $((0xd1 ^ $2)); printf '\133'
}

messages() {
    number=0
    while [ "$number" -lt "$1" ]; do
        if [ "$BROKEN" = byte ] && [ "$role" = produce ] && [ "$number" = 3 ]; then
            message "$number" "$2" | tr '\003' '\004'
        else
            message "$number" "$2"
        fi
        number=$((number + 1))
    done
}

case $role in
produce)
    producer=$SLIPRING_BENCH_PRODUCER
    echo ready
    read -r go && [ "$go" = go ]
    [ "$BROKEN" != crash ] || { echo "out of files" >&2; exit 7; }
    messages "$count" "$producer" > "$path/sent.$producer"
    : > "$path/done.$producer"
    if [ "$SLIPRING_BENCH_ENDS" -gt 0 ]; then : > "$path/end"; fi
    echo "{\"messages\":$count,\"ns\":1000}"
    ;;
consume)
    # The first to come takes all there is.
    first=no
    if mkdir "$path/first" 2>/dev/null; then first=yes; fi
    echo ready
    got=0
    if [ "$count" -gt 0 ]; then
        until [ -e "$path/done.0" ]; do sleep 0.01; done
        messages "$count" 0 > "$path/expected"
        cmp -s "$path/expected" "$path/sent.0" || { echo "message 3 is garbled" >&2; exit 65; }
        got=$count
    else
        until [ -e "$path/end" ]; do sleep 0.01; done
        for sent in "$path"/sent.*; do
            got=$((got + $(wc -c < "$sent") / size))
        done
        if [ "$first" = no ]; then got=0; fi
    fi
    if [ "$BROKEN" = lost ]; then got=$((got - 1)); fi
    echo "{\"messages\":$got,\"ns\":2000,\"first_ns\":1000,\"last_ns\":3000}"
    ;;
*)
    echo "no such role: $role" >&2
    exit 2
    ;;
esac
