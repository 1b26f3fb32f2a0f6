#!/bin/sh
# machine.sh NUMBER TREE RESULTS: boots a machine of the table, lets it run its tests, and judges.
#
# TREE is made by image.sh. In RESULTS it leaves NUMBER.log, what the tests said, and
# NUMBER.console, what the kernel said. Exit status: 0, or 1 with lines that say why.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
number=$1 tree=$2 results=$3
. "$here/parts.sh"

row=$(sed -n "s/^$number  *//p" "$here/machines")
[ -n "$row" ] || { echo "machine $number: not in tests/vm/machines" >&2; exit 1; }
read -r package memory root cgroups mounted modules tests <<ROW
$row
ROW
work=$(mktemp -d "${TMPDIR:-/tmp}/rocker-vm.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

kernel=$("$here/kernel.sh" "$package")
mkdir -p "$work/own/test"
cat >"$work/own/test/machine" <<CONF
root=$root cgroups=$cgroups mounted=$mounted
slowness=${ROCKER_VM_SLOWNESS:-3} lacks=${modules#no-}
CONF
[ "$tests" != network ] && [ "$tests" != proxy ] || "$here/tools.sh" "$work/own"
"$here/select.sh" "$tests" "$tree/test/integration" >"$work/selected"
sed -n 's/^run //p' "$work/selected" >"$work/own/test/names"
# Without a name the test program would run them all.
[ -s "$work/own/test/names" ] || { echo "machine $number: no test to run"; exit 1; }
make_files "$tree" "$work" "$kernel" "$root"

log=$results/$number.log console=$results/$number.console
: >"$log"
timeout -k 5 "${ROCKER_VM_PATIENCE:-1500}" nice -n "${ROCKER_VM_NICE:-10}" qemu-system-x86_64 $(machine_options "$work" "$memory") \
    -serial "file:$console" -serial "file:$log" -kernel "$kernel/vmlinuz" -initrd "$work/initrd" \
    -append "$(kernel_options "$cgroups" | tr '\n' ' ')" || echo "machine $number: qemu ended with $?"
"$here/judge.sh" "$number" "$work/selected" "$log"
