#!/usr/bin/env bash
# Builds Cloud-Gate: scripts/build.sh [--yes] [PRESET]
#
#   PRESET   release (default), dev, clang, asan, tsan or fuzz; see CMakePresets.json
#   --yes    install missing Debian packages without asking
#
# The binaries are then in build/PRESET/bin/.

set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/packages.sh
. "$ROOT/scripts/lib/packages.sh"
# shellcheck source=lib/build.sh
. "$ROOT/scripts/lib/build.sh"

preset=release
for argument; do
    case $argument in
    --yes) ASSUME_YES=1 ;;
    -h | --help) print_usage "$0"; exit 0 ;;
    -*) die "unknown option $argument; see --help" ;;
    *) preset=$argument ;;
    esac
done

packages_install "${PACKAGES_BUILD[@]}"
case $preset in clang | fuzz) packages_install clang-14 libclang-rt-14-dev ;; esac
mkdir -p "$ROOT/build"
build_preset "$preset"
say "Built: $ROOT/build/$preset/bin"
