#!/usr/bin/env bash
# Proves that the README's two commands work on a bare Debian 12: scripts/prove-bare.sh [--full] [--cassandra] [--keep]
#
# Makes a minimal Debian 12 with only git and ca-certificates added, clones what is committed here into it, runs
# scripts/demo.sh until it is healthy, ends it as Ctrl-C would, then runs scripts/test.sh. Needs root and debootstrap.
#   --full        scripts/test.sh --full instead of the fast tests
#   --cassandra   the demo with real clusters
#   --keep        leaves the new system in place, and says where
#
# The new system sees this machine's network, and its package mirrors, certificates and pip settings if it has any.

set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/packages.sh
. "$ROOT/scripts/lib/packages.sh"

keep='' test_options=() demo_options=(--yes)
for argument; do
    case $argument in
    --full) test_options+=(--full) ;;
    --cassandra) demo_options+=(--cassandra) ;;
    --keep) keep=1 ;;
    --yes) ASSUME_YES=1 ;;
    -h | --help) print_usage "$0"; exit 0 ;;
    *) die "unknown option $argument; see --help" ;;
    esac
done
[[ $(id -u) == 0 ]] || die "a chroot needs root; run: sudo $0"
packages_install debootstrap git

bare=$(mktemp -d "${TMPDIR:-/tmp}/cloudgate-bare.XXXXXX")
chmod 755 "$bare" # as the root of a system is: tests run programs as other users
demo_pid=

# shellcheck disable=SC2317 # the trap calls it
cleanup() {
    local status=$?
    trap - EXIT INT TERM
    if [[ -n $demo_pid ]]; then
        kill -INT -- "-$demo_pid" 2>/dev/null || true
        wait "$demo_pid" || true
    fi
    for mounted in dev/shm dev/pts dev proc; do
        umount "$bare/$mounted" 2>/dev/null || true
    done
    umount "$bare" 2>/dev/null || true
    if [[ $keep ]]; then
        say "The system is in $bare (its /proc and /dev are unmounted)"
    elif grep -q " $bare" /proc/mounts; then
        warn "something in $bare is still mounted; it stays"
    else
        rm -rf --one-file-system "$bare"
    fi
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say "== A bare Debian 12 in $bare"
# shellcheck disable=SC2016 # apt-get expands it
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 2>/dev/null | head -n 1)
debootstrap --variant=minbase --include=git,ca-certificates bookworm "$bare" ${mirror:+"$mirror"} >"$bare.log" 2>&1 ||
    { tail -n 20 "$bare.log"; die "debootstrap failed"; }
rm -f "$bare.log"

# Debian's usual sources, then what this machine needs to reach a mirror at all.
if compgen -G '/etc/apt/sources.list.d/debian.sources' >/dev/null; then
    cp /etc/apt/sources.list.d/debian.sources "$bare/etc/apt/sources.list.d/"
    : >"$bare/etc/apt/sources.list"
fi
for file in /etc/apt/apt.conf.d/*proxy* /etc/apt/apt.conf.d/99*; do
    [[ -f $file ]] && cp "$file" "$bare/etc/apt/apt.conf.d/"
done
cp -L /etc/resolv.conf /etc/hosts "$bare/etc/"
[[ -f /etc/pip.conf ]] && cp /etc/pip.conf "$bare/etc/"
if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$bare/usr/local/share/ca-certificates/"
    chroot "$bare" update-ca-certificates >/dev/null 2>&1
fi
if [[ -f $HOME/.m2/settings.xml ]]; then
    install -D "$HOME/.m2/settings.xml" "$bare/root/.m2/settings.xml"
fi

# A mount point of its own: programs look up which file system they are on, as Cassandra does.
mount --bind "$bare" "$bare"
mount -t proc proc "$bare/proc"
mount --bind /dev "$bare/dev"
[[ -d /dev/pts ]] && mount --bind /dev/pts "$bare/dev/pts"
[[ -d /dev/shm ]] && mount --bind /dev/shm "$bare/dev/shm"

# The environment of a fresh log-in, plus how to reach package mirrors from here.
variables=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb)
while IFS= read -r name; do
    case $name in
    PIP_FIND_LINKS | PIP_CERT) ;; # files of this machine
    PIP_* | http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | MAVEN_OPTS)
        variables+=("$name=${!name}") ;;
    esac
done < <(compgen -e)
inside() { chroot "$bare" env -i "${variables[@]}" "$@"; }

say "== A clone of $(git -C "$ROOT" -c safe.directory="$ROOT" log -1 --format='%h %s')"
git -c safe.directory="$ROOT/.git" -c safe.directory="$ROOT" clone -q --no-hardlinks "file://$ROOT" "$bare/root/cloud-gate"
inside bash -c 'dpkg-query -W | wc -l | sed "s/$/ packages installed/"'

say "" "== scripts/demo.sh ${demo_options[*]}"
# With job control it gets a process group of its own, as from a terminal: the interrupt below is for the demo alone.
set -m
chroot "$bare" env -i "${variables[@]}" bash -c "cd /root/cloud-gate && exec scripts/demo.sh ${demo_options[*]}" \
    </dev/null >"$bare/root/demo.log" 2>&1 &
demo_pid=$!
set +m
deadline=$((SECONDS + 1200))
until grep -q '^Ctrl-C ends it' "$bare/root/demo.log"; do
    kill -0 "$demo_pid" 2>/dev/null || { tail -n 40 "$bare/root/demo.log"; demo_pid=; die "the demo ended by itself"; }
    ((SECONDS < deadline)) || { tail -n 40 "$bare/root/demo.log"; die "the demo was not ready within 20 minutes"; }
    sleep 1
done
sed -n '/Cloud-Gate is running/,$p' "$bare/root/demo.log"
inside bash -c 'curl -sf http://127.0.0.1:14003/health/readiness && curl -sf http://127.0.0.1:14001/health/readiness && echo' ||
    die "the demo says it runs, but is not healthy"
say "-- the walk of the README"
# shellcheck disable=SC2016 # expanded inside
inside bash -c 'cd /root/cloud-gate && sed -n "/^\`\`\`cql/,/^\`\`\`$/p" README.md | grep -v "^\`\`\`" | build/venv/bin/cqlsh 127.0.0.1 14002'
for address in 127.0.0.2 127.0.0.3; do
    inside bash -c "cd /root/cloud-gate && build/venv/bin/cqlsh $address 9042 -e 'SELECT * FROM walk.people'" | tee "$bare/root/rows"
    grep -q Ada "$bare/root/rows" || die "the rows are not on $address"
done
kill -INT -- "-$demo_pid"
wait "$demo_pid" || die "the demo ended with status $?"
demo_pid=
tail -n 2 "$bare/root/demo.log"
left=$(inside bash -c 'ls -d /tmp/cloudgate-demo.* 2>/dev/null' || true)
[[ -z $left ]] || die "the demo left files behind: $left"

say "" "== scripts/test.sh ${test_options[*]} --yes"
inside bash -c "cd /root/cloud-gate && scripts/test.sh ${test_options[*]} --yes" </dev/null
say "" "Both commands work on a bare Debian 12."
