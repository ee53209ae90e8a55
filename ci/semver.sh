#!/bin/sh
# Whether the API of this tree is compatible with an earlier one. Usage: ci/semver.sh <tag or revision>
#
# Nothing has been released yet, so there is nothing to be compatible with: without an argument this says so and checks
# nothing, and it is not part of .ci/run. After the first release, its tag is the argument. Until then ci/api.sh tells
# when the API changes.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${1:-}" ]; then
    echo "ci/semver.sh: nothing released yet, compatibility not checked; usage: ci/semver.sh <tag or revision>"
    exit 0
fi
command -v cargo-semver-checks >/dev/null || cargo install cargo-semver-checks --version 0.51.0 --locked --debug --quiet
exec cargo semver-checks --package slipring --baseline-rev "$1" --only-explicit-features
