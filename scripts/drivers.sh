#!/usr/bin/env bash
# Runs real drivers through the proxy between real clusters: scripts/drivers.sh [--yes] [--write-docs] [--only PATTERN]
#
#   (nothing)      Python, cqlsh, Node, Go, Java and Rust drivers, each at its defaults, with LZ4, TLS and authentication,
#                  between Cassandra 3.11 and 5.0 and between 5.0 and 5.0; and a tour of CQL, compared with a cluster's own answers.
#                  Fails when docs/drivers.md does not say what came of it.
#   --write-docs   writes docs/drivers.md instead
#   --only P       only the tests whose name matches the pytest expression P, such as "gocql and TLS"; the page is left alone
#   --yes          install missing Debian packages without asking
#
# The drivers are installed into build/drivers from their registries; the toolchains on PATH are used when they are new enough.
# CLOUDGATE_BIN names the binaries, build/release/bin unless set. tests/drivers/README.md says how it works.

set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/packages.sh
. "$ROOT/scripts/lib/packages.sh"
# shellcheck source=lib/build.sh
. "$ROOT/scripts/lib/build.sh"

write='' only=''
while (($#)); do
    case $1 in
    --write-docs) write=1 ;;
    --only) only=${2:?--only needs a pattern}; shift ;;
    --yes) ASSUME_YES=1 ;;
    -h | --help) print_usage "$0"; exit 0 ;;
    *) die "unknown option $1; see --help" ;;
    esac
    shift
done

packages=("${PACKAGES_PYTHON[@]}" "${PACKAGES_CASSANDRA[@]}" "${PACKAGES_DRIVERS[@]}")
[[ ${CLOUDGATE_BIN:-} ]] || packages+=("${PACKAGES_BUILD[@]}")
packages_install "${packages[@]}"
# Debian 12 has a Rust that is kept up with the browsers, beside the old one. Without it the row says so.
if ! /usr/bin/python3 "$ROOT/tests/drivers/install.py" has cargo; then
    (packages_install "${PACKAGES_RUST[@]}") || warn "no Rust that is new enough: its driver will not be run"
fi
mkdir -p "$ROOT/build/drivers"
python_environment || die "pip could not install tests/requirements.txt into build/venv"
if [[ ! ${CLOUDGATE_BIN:-} ]]; then
    build_preset release || die "the build failed"
    export CLOUDGATE_BIN=$ROOT/build/release/bin
fi

results=$ROOT/build/drivers/results.json
rm -f "$results"
options=(-p no:cacheprovider -q -rs --timeout=600)
[[ ${JUNIT:-} ]] && options+=("--junitxml=$JUNIT")
[[ $only ]] && options+=(-k "$only")
status=0
"$ROOT/build/venv/bin/python" -m pytest "${options[@]}" "$ROOT/tests/drivers" || status=$?
[[ ! $only && -s $results ]] || exit "$status"
if [[ $write ]]; then
    "$ROOT/build/venv/bin/python" "$ROOT/tests/drivers/matrix.py" write "$results"
    say "docs/drivers.md is written"
elif ((status == 0)) && ! grep -q '"not run"' "$results"; then
    "$ROOT/build/venv/bin/python" "$ROOT/tests/drivers/matrix.py" check "$results" || status=$?
fi
exit "$status"
