#!/bin/sh
# The library and the command on the oldest Rust they promise. Where that toolchain is not installed, clippy checks that
# nothing newer of the standard library is used, and says so.
set -eu
cd "$(dirname "$0")/.."
version="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
if cargo "+$version" --version >/dev/null 2>&1; then
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/msrv" cargo "+$version" check --workspace --locked
else
    echo "ci/msrv.sh: Rust $version is not installed; checking the standard library's items only"
    cargo clippy --workspace --quiet -- -D clippy::incompatible_msrv
fi
