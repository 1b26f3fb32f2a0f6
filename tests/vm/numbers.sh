#!/bin/sh
# numbers.sh TREE RESULTS: what a start takes on an initramfs beside the same on a disk, and whether
# 96 MiB of memory are enough for the base image and 8 containers.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/parts.sh"
tree=$1 results=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/rocker-vm-numbers.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
kernel=$("$here/kernel.sh" linux-image-6.12-cloud-amd64)

# The tests themselves would take memory that a small machine does not have.
cp -a "$tree" "$work/tree"
rm -r "$work/tree/test/integration" "$work/tree/test/doc"
cp "$here/guest-numbers" "$work/tree/test/run"
measure() { # NAME ROOT MEMORY
    machine=$work/$1
    mkdir -p "$machine/own/test"
    echo "root=$2 cgroups=v2 mounted=yes" >"$machine/own/test/machine"
    modules=all
    make_files "$work/tree" "$machine" "$kernel" "$2"
    log=$results/numbers-$1.log
    : >"$log"
    # Time goes by instructions, four nanoseconds each: what else runs here does not count.
    timeout -k 5 300 nice -n "${ROCKER_VM_NICE:-10}" qemu-system-x86_64 -icount shift=2,sleep=off $(machine_options "$machine" "$3") \
        -serial "file:$results/numbers-$1.console" -serial "file:$log" -kernel "$kernel/vmlinuz" \
        -initrd "$machine/initrd" -append "$(kernel_options v2 | tr '\n' ' ')" || :
    ! grep '^broken' "$log" || return 1
    grep -q '^machine: end 0' "$log" || { echo "numbers: $1 gave no result"; return 1; }
    sed -n 's/\r$//; s/^number //p' "$log" | tr '\n' ' ' | sed "s/^/numbers: $1 ($3 MiB): /"
    echo
}
number() { sed -n 's/\r$//; s/^number start //p' "$results/numbers-$1.log"; }

measure small initramfs 96
measure ext4 ext4 512
measure initramfs initramfs 512
awk -v a="$(number initramfs)" -v b="$(number ext4)" 'BEGIN {
    printf "numbers: a start on an initramfs takes %.2f of one on ext4, at most 1.5\n", a / b
    exit a > 1.5 * b
}'
