#!/usr/bin/env bash
# A real Cassandra origin and a real target on this machine: scripts/cassandra.sh [--yes] start|stop|fetch [OPTION...]
#
#   start   127.0.0.2:9042 (cluster Origin, 3.11) and 127.0.0.3:9042 (cluster Target, 5.0); returns when both serve;
#           --pair 5.0-5.0 makes both 5.0, --tls optional|required|mutual serves TLS, --password asks for a password
#   stop    ends those two nodes
#   fetch   only downloads what they need
#   --yes   install missing Debian packages without asking
#
# Further options (--directory, --origin, --target, --port, --certified): tests/cassandra/launcher.py --help

set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/packages.sh
. "$ROOT/scripts/lib/packages.sh"

arguments=()
for argument; do
    case $argument in
    --yes) ASSUME_YES=1 ;;
    -h | --help) print_usage "$0"; exit 0 ;;
    *) arguments+=("$argument") ;;
    esac
done
((${#arguments[@]})) || { print_usage "$0"; exit 2; }

packages_install python3 ca-certificates "${PACKAGES_CASSANDRA[@]}"
exec /usr/bin/python3 "$ROOT/tests/cassandra/launcher.py" "${arguments[@]}"
