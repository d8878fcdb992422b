#!/usr/bin/env bash
# Shows Cloud-Gate at work on this machine: scripts/demo.sh [--yes] [--cassandra]
#
#   (nothing)     two simulated clusters (cqlsim), the control plane, the data plane and a gentle load
#   --cassandra   a real Cassandra 3.11 origin and a 5.0 target instead of the simulated clusters
#   --yes         install missing Debian packages without asking
#
# Ctrl-C ends it and leaves nothing running. Set in the environment, these move it elsewhere: ORIGIN_ADDRESS,
# TARGET_ADDRESS (127.0.0.2 and 127.0.0.3), PROXY_QUERY_PORT, PROXY_METRICS_PORT, CONTROL_HTTP_PORT (14002, 14001, 14003).

set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/packages.sh
. "$ROOT/scripts/lib/packages.sh"
# shellcheck source=lib/build.sh
. "$ROOT/scripts/lib/build.sh"

cassandra=
for argument; do
    case $argument in
    --yes) ASSUME_YES=1 ;;
    --cassandra) cassandra=1 ;;
    -h | --help) print_usage "$0"; exit 0 ;;
    *) die "unknown option $argument; see --help" ;;
    esac
done

origin=${ORIGIN_ADDRESS:-127.0.0.2} target=${TARGET_ADDRESS:-127.0.0.3} cql_port=9042
query_port=${PROXY_QUERY_PORT:-14002} metrics_port=${PROXY_METRICS_PORT:-14001} http_port=${CONTROL_HTTP_PORT:-14003}
bin=$ROOT/build/release/bin
venv=$ROOT/build/venv
work= # the demo's files, once there are any
names=() pids=()

# launch NAME COMMAND...: in the background, its output in the file NAME.log.
launch() {
    local name=$1
    shift
    # Job control gives each its own process group, so that Ctrl-C reaches only this script, which then stops them in order.
    set -m
    "$@" </dev/null >"$work/$name.log" 2>&1 &
    set +m
    names+=("$name")
    pids+=($!)
}

# shellcheck disable=SC2317 # the trap calls it
cleanup() {
    local status=$? i
    trap '' INT TERM
    trap - EXIT
    [[ -n $work ]] || exit "$status"
    say "" "Stopping ..."
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || continue
        # A drain may take as long as one request; what is still there after that is ended.
        timeout 15 tail --pid="${pids[i]}" -f /dev/null || kill -KILL "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    [[ -n $cassandra ]] && /usr/bin/python3 "$ROOT/tests/cassandra/launcher.py" stop --directory "$work/cassandra"
    if ((status == 0 || status == 130 || status == 143)); then
        rm -rf "$work"
        say "Stopped; nothing is left running."
        exit 0
    fi
    say "The logs are in $work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# need_free ADDRESS PORT NAME: stops the demo when somebody else listens there.
need_free() {
    /usr/bin/python3 - "$1" "$2" <<'PYTHON' || die "$1:$2 is already in use; the demo needs it for $3 (another demo? see --help to move it)"
import socket, sys
probe = socket.socket()
probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    probe.bind((sys.argv[1], int(sys.argv[2])))
    probe.listen()
except OSError:
    sys.exit(1)
PYTHON
}

# wait_until SECONDS WHAT COMMAND...: until the command succeeds; gives up early when one of our programs has ended.
wait_until() {
    local deadline=$((SECONDS + $1)) what=$2 i
    shift 2
    until "$@" >/dev/null 2>&1; do
        for i in "${!pids[@]}"; do
            kill -0 "${pids[i]}" 2>/dev/null ||
                { tail -n 20 "$work/${names[i]}.log" >&2; die "${names[i]} ended before $what; its last words are above"; }
        done
        ((SECONDS < deadline)) || die "no sign that $what after $1 s"
        sleep 0.2
    done
}
answers_http() { curl -sf --max-time 2 "$1"; }
listens() { (exec 3<>"/dev/tcp/$1/$2"); }
load_runs() { grep -q 'load running' "$work/load.log"; }

packages=("${PACKAGES_BUILD[@]}" "${PACKAGES_PYTHON[@]}")
[[ $cassandra ]] && packages+=("${PACKAGES_CASSANDRA[@]}")
packages_install "${packages[@]}"
mkdir -p "$ROOT/build"
say "Building (build/release) ..."
build_preset release || die "the build failed"
say "Preparing the Python environment (build/venv) ..."
python_environment || die "pip could not install tests/requirements.txt into build/venv"

need_free "$origin" $cql_port "the origin cluster"
need_free "$target" $cql_port "the target cluster"
need_free 127.0.0.1 "$query_port" "clients of the proxy"
need_free 127.0.0.1 "$metrics_port" "the proxy's metrics"
need_free 127.0.0.1 "$http_port" "the control plane"

work=$(mktemp -d "${TMPDIR:-/tmp}/cloudgate-demo.XXXXXX")
mkdir "$work/state"

if [[ $cassandra ]]; then
    say "Starting Cassandra 3.11 and 5.0 (the first time their jars are downloaded) ..."
    /usr/bin/python3 "$ROOT/tests/cassandra/launcher.py" start --directory "$work/cassandra" \
        --origin "$origin" --target "$target" --port $cql_port
else
    launch origin "$bin/cqlsim" --listen "$origin" --port $cql_port --cluster-name Origin --control "$work/origin.sock"
    launch target "$bin/cqlsim" --listen "$target" --port $cql_port --cluster-name Target --control "$work/target.sock"
    wait_until 10 "the origin answers on $origin:$cql_port" listens "$origin" $cql_port
    wait_until 10 "the target answers on $target:$cql_port" listens "$target" $cql_port
fi

# The demo knows its admin token because it makes it; an installation is told by cloudgate-control, once.
token=$(od -An -vtx1 -N32 /dev/urandom | tr -d ' \n')
(umask 077 && printf '%s\n' "$token" >"$work/token")

launch control env CONTROL_HTTP_ADDRESS=127.0.0.1 CONTROL_HTTP_PORT="$http_port" \
    CONTROL_SOCKET="$work/control.sock" CONTROL_DATABASE="$work/control.sqlite" CONTROL_ADMIN_TOKEN_FILE="$work/token" \
    CONTROL_API_SOCKET="$work/api.sock" \
    "$bin/cloudgate-control"
wait_until 10 "the control plane answers on 127.0.0.1:$http_port" answers_http "http://127.0.0.1:$http_port/health/liveness"

launch proxy env ORIGIN_CASSANDRA_CONTACT_POINTS="$origin" ORIGIN_CASSANDRA_USERNAME= ORIGIN_CASSANDRA_PASSWORD= \
    TARGET_CASSANDRA_CONTACT_POINTS="$target" TARGET_CASSANDRA_USERNAME= TARGET_CASSANDRA_PASSWORD= \
    PROXY_QUERY_PORT="$query_port" PROXY_METRICS_PORT="$metrics_port" \
    CONTROL_SOCKET="$work/control.sock" STATE_DIRECTORY="$work/state" "$bin/cloudgate-proxy"
wait_until 30 "the proxy is ready" answers_http "http://127.0.0.1:$metrics_port/health/readiness"

launch load "$venv/bin/python" "$ROOT/tests/bench/load.py" --port "$query_port" --reads 20 --writes 20
wait_until 60 "the load runs" load_runs

dashboard=http://127.0.0.1:$http_port
ctl=build/release/bin/cloudgatectl
cat <<EOF

Cloud-Gate is running: 20 reads and 20 writes a second go through it.

  Dashboard          $dashboard/        (its token: $token)
  The commands below want it too:
                     export CLOUDGATE_URL=$dashboard CLOUDGATE_TOKEN=$token
  A CQL shell        build/venv/bin/cqlsh 127.0.0.1 $query_port        (through the proxy: writes reach both clusters)
    the clusters     build/venv/bin/cqlsh $origin $cql_port        build/venv/bin/cqlsh $target $cql_port
  Move the reads     $ctl routing set forward_reads_to_target=true
    or               curl -X PATCH -H 'Content-Type: application/json' -H "Authorization: Bearer \$CLOUDGATE_TOKEN" \\
                       -d '{"forward_reads_to_target":true}' $dashboard/api/v1/routing
    and see          $ctl status
  Phases, checks     $ctl phase
    the next one     $ctl phase set shadow_read --percent 50
  Metrics            http://127.0.0.1:$metrics_port/metrics
  Logs               $work/

Ctrl-C ends it.
EOF

# The demo lasts until Ctrl-C, or until one of its programs ends, which none should.
set +e
wait -n "${pids[@]}"
for i in "${!pids[@]}"; do
    kill -0 "${pids[i]}" 2>/dev/null ||
        { tail -n 20 "$work/${names[i]}.log" >&2; die "${names[i]} ended by itself; its last words are above"; }
done
