#!/bin/sh
# pid1.sh TREE RESULTS: a machine whose process 1 is `rocker init`: its container comes back after a
# restart and after a power cut, and is stopped before the machine is.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/parts.sh"
tree=$1 results=$2
hold pid1
make_guest guest-pid1
mkfifo "$work/monitor.in" "$work/monitor.out"
: >"$results/8.log"
: >"$results/8.console"

# start NAME [KERNEL OPTION]: boots; what the machine says goes to its own files of this life.
start() {
    life=$1
    : >"$work/$life.log"
    qemu-system-x86_64 $(machine_options "$work" 256) -serial "file:$work/$life.console" \
        -serial "file:$work/$life.log" -monitor "pipe:$work/monitor" -kernel "$kernel/vmlinuz" \
        -initrd "$work/initrd" -append "$(kernel_options v2 | tr '\n' ' ') ${2:-}" &
    machine=$!
    # A pipe that nobody reads or writes would stop qemu.
    exec 3>"$work/monitor.in"
    cat "$work/monitor.out" >/dev/null &
}
keep() {
    exec 3>&-
    machine=
    cat "$work/$life.log" >>"$results/8.log"
    cat "$work/$life.console" >>"$results/8.console"
}
fail() {
    keep
    echo "machine 8: $life: $*"
    tail -n 5 "$results/8.console" "$results/8.log"
    exit 1
}
await() { # TEXT FILE
    tries=0
    until grep -q "$1" "$2"; do
        tries=$((tries + 1))
        kill -0 "$machine" 2>/dev/null && [ $tries -lt 1800 ] || fail "no '$1'"
        sleep 0.1
    done
}
# The machine ends by itself, and so does qemu.
gone() {
    tries=0
    while kill -0 "$machine" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || fail "it does not end"
        sleep 0.1
    done
    wait "$machine" 2>/dev/null || :
}

start first
gone
grep -q '^machine: end 0' "$work/first.log" || fail "it could not be prepared"
keep
for life in second third fourth; do
    start $life vm.pid1=rocker
    await ready "$work/$life.log"
    ! grep '^no ' "$work/$life.log" || fail "its network did not come back"
    if [ $life = third ]; then
        # The power cut.
        kill -9 "$machine"
        wait "$machine" 2>/dev/null || :
    else
        echo "sendkey ctrl-alt-delete" >&3
        gone
        grep -q bye "$work/$life.log" || fail "the container was not asked to end"
        grep -q 'rocker: stopped web' "$work/$life.console" || fail "the container was not stopped"
    fi
    keep
done
start last
gone
! grep '^broken' "$work/last.log" || fail "what the lives left"
grep -q '^machine: end 0' "$work/last.log" || fail "gave no result"
keep
echo "machine 8: its container and its network came back after a restart and a power cut, and it was stopped before the machine"
