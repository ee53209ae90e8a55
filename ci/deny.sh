#!/bin/sh
# Licences, versions and sources of what is depended on, against deny.toml; and known advisories, where their database can
# be had from GitHub. Says plainly where it cannot.
set -eu
cd "$(dirname "$0")/.."
command -v cargo-deny >/dev/null || cargo install cargo-deny --version 0.20.2 --locked --debug --quiet
cargo deny --all-features check --hide-inclusion-graph licenses bans sources
if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
    cargo deny --all-features check --disable-fetch advisories
else
    echo "ci/deny.sh: the advisory database cannot be had from here, advisories not checked"
fi
