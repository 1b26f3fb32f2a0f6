#!/bin/sh
# tests/demo.sh: a container's whole life, each command shown before its output.
#
# Builds what is missing first. All state is in a directory of its own, removed at the end.
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
    echo "make demo: containers need root: run it as root" >&2
    exit 1
fi
make --no-print-directory build base-image/busybox.tar

state=$(mktemp -d "${TMPDIR:-/tmp}/rocker-demo.XXXXXX")
export ROCKER_ROOT="$state/root" ROCKER_RUN_ROOT="$state/run"
PATH="$PWD/target:$PATH"

finish() {
    code=$?
    trap - EXIT
    rocker rm -f demo >/dev/null 2>&1 || :
    rm -rf "$state"
    [ "$code" -eq 0 ] || echo "make demo: FAILED at the command above" >&2
    exit "$code"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

# Shows a command and runs it; any failure ends the demo.
show() {
    printf '\n$ rocker'
    for word in "$@"; do
        case $word in
        *[!a-zA-Z0-9_./:=-]*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    rocker "$@"
}

# Ends the demo unless the output of the command holds the words "$1": exit 0 alone proves little.
show_with() {
    words=$1
    shift
    show "$@" >"$state/output" 2>&1 || { cat "$state/output"; return 1; }
    cat "$state/output"
    grep -qF -- "$words" "$state/output" || { echo "make demo: '$words' is missing there" >&2; return 1; }
}

show_with "rocker " --version
show_with "Imported busybox:latest" import base-image/busybox.tar busybox
show_with "busybox" images
show_with "Hello from a container" run --rm --image busybox /bin/echo "Hello from a container"
show run -d --name demo -m 64m --image busybox \
    /bin/sh -c 'trap "exit 0" TERM; echo started; while :; do sleep 0.1; done'
show_with "running" ps
show exec demo sh -c 'echo kept > /root/note'
show_with "trap" exec demo ps
show_with "started" logs demo
show commit demo demo-image
show_with "kept" run --rm --image demo-image cat /root/note
show_with "demo" stop demo
show_with "stopped" ps
show_with "demo" rm demo
show rmi demo-image busybox
# The default network, which stays otherwise; a host without bridges has none.
[ -z "$(rocker network ls -q)" ] || show network rm rocker0
if [ -n "$(rocker ps -q)$(rocker images -q)$(rocker network ls -q)" ]; then
    echo "make demo: something is left" >&2
    exit 1
fi
printf '\nmake demo: all of it worked; no container, image or network is left\n'
