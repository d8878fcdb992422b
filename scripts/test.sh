#!/usr/bin/env bash
# Installs what is missing, builds, and tests: scripts/test.sh [--yes] [--full] [--only PATTERN]
#
#   (nothing)   the fast tests: unit, and integration against the simulated clusters with the Python driver
#   --full      adds: gcc and clang with warnings as errors, AddressSanitizer + UBSan, ThreadSanitizer, real
#               Cassandra 3.11 and 5.0 with the Python driver and cqlsh, the drivers of docs/drivers.md, fuzzing, format and lint,
#               the public JSON test suite, the dashboard in Chromium, and instructions per request against the committed figures
#   --only P    of these, only the stages whose name matches the extended regular expression P
#   --yes       install missing Debian packages without asking
#
# All stages run even when one fails. The last line counts tests: "N passed, N failed". Logs: build/test/.

# Functions that `stage` calls by name look unreachable to the linter.
# shellcheck disable=SC2317
set -uo pipefail
# shellcheck source=lib/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/packages.sh
. "$ROOT/scripts/lib/packages.sh"
# shellcheck source=lib/build.sh
. "$ROOT/scripts/lib/build.sh"

full=''
only=.
while (($#)); do
    case $1 in
    --full) full=1 ;;
    --only) only=${2:?--only needs a pattern}; shift ;;
    --yes) ASSUME_YES=1 ;;
    -h | --help) print_usage "$0"; exit 0 ;;
    *) die "unknown option $1; see --help" ;;
    esac
    shift
done

cd "$ROOT" || exit
RESULTS=$ROOT/build/test
VENV=$ROOT/build/venv
export PATH=$ROOT/build/tools:$PATH
total_passed=0 total_failed=0 total_skipped=0
summary=()

# stage NAME COMMAND...: runs it, keeps its output, counts its tests. A stage without a test report is one test itself.
stage() {
    local name=$1
    shift
    [[ $name =~ $only ]] || return 0
    local begin=$SECONDS log="$RESULTS/$name.log" status passed=0 failed=0 skipped=0
    export JUNIT="$RESULTS/$name.xml" REPORTS="$RESULTS/$name.sanitizer"
    rm -rf "$JUNIT" "$REPORTS"*
    say "" "== $name"
    ("$@") </dev/null 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    if [[ -s $JUNIT ]]; then
        read -r passed failed skipped < <(/usr/bin/python3 scripts/lib/count.py "$JUNIT") || failed=1
        if ((passed + failed == 0)); then
            warn "$name ran no test"
            failed=1
        fi
    elif ((status == 0)); then
        passed=1
    fi
    # What a sanitizer found in a program that a test had started is in files of its own; so are mere remarks.
    if grep -lE 'ERROR: |WARNING: ThreadSanitizer|runtime error' "$REPORTS"* 2>/dev/null; then
        cat "$REPORTS"*
        ((failed++))
    fi
    ((status != 0 && failed == 0)) && failed=1
    total_passed=$((total_passed + passed))
    total_failed=$((total_failed + failed))
    total_skipped=$((total_skipped + skipped))
    summary+=("$(printf '%-22s %6d %6d %7d %5d s  %s' "$name" "$passed" "$failed" "$skipped" \
        $((SECONDS - begin)) "$( ((failed)) && echo "FAILED, see ${log#"$ROOT/"}")")")
    ((failed == 0))
}

finish() {
    say "" "$(printf '%-22s %6s %6s %7s %7s' stage passed failed skipped time)"
    printf '%s\n' "${summary[@]}"
    say "in all $((SECONDS / 60)) min $((SECONDS % 60)) s" ""
    if ((total_skipped)); then
        say "$total_passed passed, $total_failed failed, $total_skipped skipped"
    else
        say "$total_passed passed, $total_failed failed"
    fi
    ((total_failed == 0 && total_passed > 0))
    exit
}
trap 'trap - INT TERM; total_failed=$((total_failed + 1)); summary+=("interrupted"); finish' INT TERM

# What test programs are run under: nothing, or see `sanitized`.
runner=()

# sanitized COMMAND...: with reports in files of their own, and without address randomisation, which some
# kernels make too large for ThreadSanitizer's map of memory.
sanitized() {
    local common="log_path=$REPORTS"
    export LSAN_OPTIONS="$common" UBSAN_OPTIONS="$common:print_stacktrace=1"
    export ASAN_OPTIONS="$common:detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1"
    export TSAN_OPTIONS="$common:second_deadlock_stack=1"
    setarch "$(uname -m)" -R true 2>/dev/null && runner=(setarch "$(uname -m)" -R)
    "$@"
}

unit() {
    "${runner[@]}" ctest --preset "$1" --no-tests=error --timeout 120 --output-junit "$JUNIT" -j 2
}

plays() { # plays PRESET FOLDER OPTION...: pytest against the binaries of a preset
    local preset=$1 folder=$2
    shift 2
    CLOUDGATE_BIN="$ROOT/build/$preset/bin" "${runner[@]}" "$VENV/bin/python" -m pytest -p no:cacheprovider -q -rs \
        --junitxml="$JUNIT" --timeout=300 "$@" "$ROOT/tests/$folder"
}
# Plays mostly wait: several files of them at a time, each in its own process.
integration() { plays "$1" integration -n 3 --dist loadfile; }

# Instructions per request against tests/bench/instructions.json, after the judge itself has been tested.
performance() { plays release bench && scripts/bench.sh --smoke; }

# Installs what it needs by itself, and compares docs/drivers.md with what it found.
drivers() { CLOUDGATE_BIN="$ROOT/build/$1/bin" scripts/drivers.sh; }

# The dashboard in Debian's Chromium; its pictures are for people to look at.
browser() { node_environment browser && plays "$1" browser -n 2 --screenshots "$RESULTS/screenshots"; }

# The texts of the public JSON test suite.
json_suite() { node_environment jsonsuite && plays "$1" jsonsuite; }

our_sources() { git -c safe.directory="$ROOT" ls-files -- '*.c' '*.h'; }
check_format() {
    local source failed=0
    while IFS= read -r source; do
        clang-format-14 "$source" | cmp -s - "$source" || { say "not formatted: $source"; failed=1; }
    done < <(our_sources)
    ((failed == 0)) || say "run: git ls-files -- '*.c' '*.h' | xargs clang-format-14 -i"
    return "$failed"
}
# The path-sensitive analyzer is for the product; test programs run under the sanitizers anyway.
check_tidy() {
    local tidy=(xargs -P 2 -n 4 clang-tidy-14 -p build/clang --quiet --warnings-as-errors='*')
    our_sources | grep '\.c$' | grep -v '^tests/' | "${tidy[@]}" &&
        our_sources | grep '^tests/.*\.c$' | grep -v '^tests/fuzz/' |
        "${tidy[@]}" --checks='-clang-analyzer-*,-misc-redundant-expression'
}
check_shell() { (cd scripts && shellcheck -x -P SCRIPTDIR ./*.sh lib/*.sh ../.ci/run); }
check_compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose -f docker-compose.yml config >/dev/null
    else
        docker-compose -f docker-compose.yml config >/dev/null
    fi
}
check_deploy() {
    check_compose && promtool check config deploy/prometheus/prometheus.yml
}
check_fuzz() {
    build_preset fuzz || return
    local program name seeds ran=0
    for program in build/fuzz/bin/fuzz_*; do
        [[ -x $program ]] || continue
        name=$(basename "$program")
        mkdir -p "build/fuzz/corpus/$name"
        seeds=()
        [[ -d tests/fuzz/corpus/$name ]] && seeds=("tests/fuzz/corpus/$name")
        say "$name"
        "$program" -max_total_time=20 -verbosity=0 -print_final_stats=0 -artifact_prefix="$RESULTS/$name-" \
            "build/fuzz/corpus/$name" "${seeds[@]}" || return
        ran=$((ran + 1))
    done
    say "$ran fuzz targets, 20 s each"
    ((ran > 0))
}

# A function, so that the whole script is read before it runs: it may be edited meanwhile.
run_stages() {
    local packages=("${PACKAGES_BUILD[@]}" "${PACKAGES_PYTHON[@]}")
    [[ $full ]] && packages+=("${PACKAGES_LINT[@]}" "${PACKAGES_CASSANDRA[@]}" "${PACKAGES_BENCH[@]}" "${PACKAGES_BROWSER[@]}")
    packages_install "${packages[@]}"
    mkdir -p "$RESULTS"
    say "Preparing the Python environment in build/venv"
    python_environment || die "pip could not install tests/requirements.txt into build/venv"

    if [[ ! $full ]]; then
        stage build-gcc build_preset release || finish
        stage unit-gcc unit release
        stage integration integration release
        stage conformance plays release conformance
        finish
    fi

    promtool_install || die "apt-get could not download the package prometheus, for promtool"
    # Cheap checks first: they fail fastest.
    stage format check_format
    stage shell check_shell
    stage deploy check_deploy
    if stage build-gcc build_preset release; then
        stage unit-gcc unit release
        stage lint plays release lint
        stage performance performance
        stage integration integration release
        stage conformance plays release conformance
        stage json json_suite release
        stage browser browser release
        stage cassandra plays release cassandra
        stage drivers drivers release
        stage conformance-real plays release conformance --real
    fi
    if stage build-clang build_preset clang; then
        stage unit-clang unit clang
        stage tidy check_tidy
    fi
    if stage build-asan build_preset asan; then
        stage unit-asan sanitized unit asan
        stage integration-asan sanitized integration asan
        stage conformance-asan sanitized plays asan conformance
    fi
    if stage build-tsan build_preset tsan; then
        stage unit-tsan sanitized unit tsan
        stage integration-tsan sanitized integration tsan
        stage conformance-tsan sanitized plays tsan conformance
    fi
    stage fuzz check_fuzz
    finish
}
run_stages
