#!/usr/bin/env bash
# Measures what the proxy costs beside HAProxy in TCP mode: scripts/bench.sh [--yes] [option...]
#
#   --quick               one short round instead of three of 3 s: for a first look, not for a claim
#   --rounds N            how many rounds (3)
#   --seconds S           how long each measurement lasts (3)
#   --only PATTERN        only the workloads whose name matches
#   --peer NAME=ADDR:PORT[:PID]   one more CQL proxy to put beside them, started by you in front of the
#                         stubs; with its PID its CPU time is measured too; may be repeated
#   --stubs               only starts the stub clusters such a proxy needs, until Ctrl-C
#   --scale               instead: how the cost grows with workers, connections, prepared statements, idle clients
#   --smoke               instead: only counts instructions, and fails when a workload needs 10 % more of them than
#                         tests/bench/instructions.json says
#   --update-baseline     instead: only counts instructions, and writes that file
#   --no-callgrind        leaves out counting instructions
#   --no-strace           leaves out counting system calls
#   --no-heap             leaves out counting heap calls
#   --json FILE           writes all figures; tests/bench/README.md explains them
#   --write-docs          puts the tables into docs/performance.md; after a full run of what is committed, or with --scale
#   --binaries DIR        measures the programs of this directory and builds nothing
#   --yes                 install missing Debian packages without asking
#
# The main figure is the CPU time of the proxy's process per answered request, which other programs on the machine
# hardly distort; requests per second and latencies they do. Ends with 0 when it could measure, whatever it measured, with 1
# when it could not or the smoke failed, with 2 when it does not understand its options.

set -uo pipefail
# shellcheck source=lib/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/packages.sh
. "$ROOT/scripts/lib/packages.sh"
# shellcheck source=lib/build.sh
. "$ROOT/scripts/lib/build.sh"

binaries=''
options=()
while (($#)); do
    case $1 in
    -h | --help) print_usage "$0"; exit 0 ;;
    --yes) ASSUME_YES=1 ;;
    --binaries) binaries=${2:?--binaries needs a directory}; shift ;;
    *) options+=("$1") ;;
    esac
    shift
done

packages_install "${PACKAGES_BUILD[@]}" "${PACKAGES_BENCH[@]}"
for option in "${options[@]}"; do
    [[ $binaries && $option == --write-docs ]] && die "--write-docs names a commit: it builds what it measures, without --binaries"
done
if [[ ! $binaries ]]; then
    binaries=$ROOT/build/release/bin
    mkdir -p "$ROOT/build"
    say "Building (build/release) ..."
    build_preset release || die "the build failed"
    cmake --build "$ROOT/build/release" --target bench -- --quiet || die "the build of the measuring programs failed"
fi
exec /usr/bin/python3 "$ROOT/tests/bench/compare.py" --binaries "$binaries" "${options[@]}"
