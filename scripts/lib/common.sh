# shellcheck shell=bash disable=SC2034
# What every script starts with: where the repository is, how to speak, how to ask. Sourced, never run.

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
# Answer yes to every question: set by --yes, and by root in CI, where nobody could answer.
ASSUME_YES=${ASSUME_YES:-}
if [[ $(id -u) == 0 && ${CI:-} == true ]]; then
    ASSUME_YES=1
fi

say() { printf '%s\n' "$@"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
    exit 1
}

# ask QUESTION: true when the answer is yes. Without a terminal nobody can answer, so the answer is no.
ask() {
    [[ -n $ASSUME_YES ]] && return 0
    [[ -t 0 ]] || return 1
    local answer
    read -r -p "$1 [y/N] " answer
    [[ $answer == [yY]* ]]
}

# with_root COMMAND...: as root, by sudo when we are not.
with_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "'$1' needs root, and there is no sudo; run this as root: $*"
    fi
}

# print_usage SCRIPT: the script's opening comment, which is its --help.
print_usage() { sed -n '2,/^$/ s/^# \{0,1\}//p' "$1"; }
