#!/bin/sh
# Power losses, full and failing disks, through the kernel's own file systems: see disk-tests/README.md.
# Usage: ci/disk.sh [arguments of slipring-disk-tests: --seconds, --images, --boots, --seed, --only]
#
# Needs root, /dev/fuse, loop devices and mkfs.ext4, and says plainly what is missing; xfs and btrfs where they can be made.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --quiet -p slipring-disk-tests
exec "${CARGO_TARGET_DIR:-target}/release/slipring-disk-tests" "$@"
