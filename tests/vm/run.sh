#!/bin/sh
# run.sh [MACHINE...]: boots these test machines, or all, as many at a time as there are cores, or
# $ROCKER_VM_JOBS, and says how each ended.
#
# A machine is a number of tests/vm/machines, 8 for pid1.sh, or another script: numbers, power-cut.
# Kernels are kept in ${XDG_CACHE_HOME:-~/.cache}/rocker-vm, or $ROCKER_VM_CACHE; what the machines
# said stays in target/vm.
set -eu
cd "$(dirname "$0")/../.."
# What takes longest goes first, beside all others.
[ $# -gt 0 ] || set -- power-cut $(sed -n 's/^\([0-9][0-9]*\) .*/\1/p' tests/vm/machines) 8 numbers
# qemu-utils only so that a newer one is not taken away for the sake of qemu-system-x86.
tests/packages.sh qemu-system-x86 qemu-utils busybox-static squashfs-tools e2fsprogs xz-utils \
    musl-tools binutils iproute2 nftables
results=target/vm
mkdir -p "$results"
rm -f "$results"/*.log "$results"/*.console "$results"/*.result
tree=$(mktemp -d "${TMPDIR:-/tmp}/rocker-vm-tree.XXXXXX")
kernels=
trap '[ -z "$kernels" ] || kill "$kernels" 2>/dev/null || :
    rm -rf "$tree"' EXIT
trap 'exit 1' INT TERM HUP
start=$(date +%s)
# Kernels are fetched one after the other, before two machines want the same. By timeout, which ends
# all that it started with itself.
timeout 0 sh -euc '
    for machine in "$@"; do
        package=$(sed -n "s/^$machine  *\([^ ]*\) .*/\1/p" tests/vm/machines)
        tests/vm/kernel.sh "${package:-linux-image-6.12-cloud-amd64}" >/dev/null
    done' sh "$@" &
kernels=$!
tests/vm/image.sh "$tree"
wait "$kernels"
kernels=
printf '%s\n' "$@" | xargs -P "${ROCKER_VM_JOBS:-$(nproc)}" -I {} sh -c '
    case $1 in
    8) tests/vm/pid1.sh "$2" "$3" ;;
    [0-9]*) tests/vm/machine.sh "$1" "$2" "$3" ;;
    *) "tests/vm/$1.sh" "$2" "$3" ;;
    esac >"$3/$1.result" 2>&1 && code=0 || code=1
    cat "$3/$1.result"
    exit $code' sh {} "$tree" "$results" && code=0 || code=1
echo "machines $*: $(($(date +%s) - start)) s"
exit "$code"
