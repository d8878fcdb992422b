# shellcheck shell=bash disable=SC2034
# Debian packages by purpose, and their installation. Sourced after common.sh.

PACKAGES_BUILD=(gcc libc6-dev cmake ninja-build pkg-config libevent-dev libssl-dev libsqlite3-dev
    libcivetweb-dev libjsmn-dev libcmocka-dev libcurl4-openssl-dev liblz4-dev libsnappy-dev libdeflate-dev zlib1g-dev libyaml-dev libzip-dev
    nodejs npm ca-certificates)
PACKAGES_PYTHON=(python3 python3-venv ca-certificates curl openssl)
PACKAGES_CASSANDRA=(openjdk-17-jre-headless maven openssl)
PACKAGES_DRIVERS=(openjdk-17-jdk-headless)
PACKAGES_BENCH=(haproxy valgrind strace openssl)
PACKAGES_BROWSER=(chromium fonts-dejavu-core)
PACKAGES_RUST=(cargo-web rustc-web)
PACKAGES_LINT=(clang-14 libclang-rt-14-dev clang-format-14 clang-tidy-14 shellcheck docker-compose git)

# packages_missing NAME...: those not installed, one a line.
packages_missing() {
    local name
    for name; do
        # Other builds of nodejs bring npm along, and Debian's package would not go with them.
        [[ $name == npm ]] && command -v npm >/dev/null && continue
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || printf '%s\n' "$name"
    done
}

# packages_install NAME...: installs the missing ones after asking; returns only when all are there.
packages_install() {
    command -v dpkg-query >/dev/null || die "this is no Debian system; install the counterparts of: $*"
    local missing
    mapfile -t missing < <(packages_missing "$@")
    ((${#missing[@]})) || return 0
    say "Missing Debian packages: ${missing[*]}"
    ask "Install them with apt-get?" ||
        die "stopped; run again with --yes, or first: apt-get install --no-install-recommends ${missing[*]}"
    # The lists may be absent (a fresh image) or name versions the mirror no longer has: refresh them once.
    packages_get "${missing[@]}" || { with_root apt-get -q update && packages_get "${missing[@]}"; } ||
        die "apt-get could not install: ${missing[*]}"
}

packages_get() {
    with_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "$@" </dev/null
}

# promtool_install: puts promtool into build/tools unless the machine has it. The package that ships it would also
# start a Prometheus server, which nobody asked for, so the one file is taken out of it instead.
promtool_install() {
    command -v promtool >/dev/null && return 0
    [[ -x $ROOT/build/tools/promtool ]] && return 0
    local work
    work=$(mktemp -d)
    mkdir -p "$ROOT/build/tools"
    (
        cd "$work" && apt-get download -q prometheus && dpkg-deb -x prometheus_*.deb . &&
            cp usr/bin/promtool "$ROOT/build/tools/"
    )
    local status=$?
    rm -rf "$work"
    return "$status"
}
