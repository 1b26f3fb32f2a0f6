#!/bin/sh
# power-cut.sh TREE RESULTS [COMMAND...]: takes the power away from a machine with a disk during
# import, run, commit and rm, CUTS times each (25), and has the next boot look at what is there.
#
# TREE is made by image.sh. The instants are random, from $SEED, which is printed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/parts.sh"
tree=$1 results=$2
shift 2
[ $# -gt 0 ] || set -- import run commit rm
cuts=${CUTS:-25} seed=${SEED:-$(date +%s)}
hold cut
fail() { echo "power cut: $*"; exit 1; }

# An image whose content is known: the base image and 800 kB in 100 files.
make_data() {
    mkdir -p "$work/data"
    yes "rocker" | head -c 800000 | split -b 8000 -a 3 - "$work/data/part"
    for file in "$work/data"/*; do basename "$file" >>"$file"; done
    cp base-image/busybox.tar "$work/data.tar"
    tar -C "$work" -rf "$work/data.tar" --owner=0 --group=0 data
    (cd "$work/data" && cat ./* | md5sum) >"$work/data.md5"
}
make_data
mkdir -p "$work/own/test"
cp "$work/data.tar" "$work/data.md5" "$work/own/test/"
make_guest guest-cut

# Random enough: awk's generator with a seed of ours. Milliseconds.
instant() { awk -v seed="$((seed + $1))" 'BEGIN { srand(seed); print int(rand() * 2500) }'; }
# Boots, waits until the machine is at its work, and takes its power some milliseconds later.
live() {
    log=$work/log
    : >"$log"
    qemu-system-x86_64 $(machine_options "$work" 256) -serial "file:$results/power-cut.console" \
        -serial "file:$log" -kernel "$kernel/vmlinuz" -initrd "$work/initrd" \
        -append "$(kernel_options v2 | tr '\n' ' ') cut.subject=$1 cut.last=$2" &
    machine=$!
    tries=0
    until grep -q '^now armed' "$log"; do
        tries=$((tries + 1))
        if grep -q '^machine: end\|^broken' "$log" || [ $tries -gt 2400 ]; then
            cat "$log" >>"$results/power-cut.log"
            tail -n 3 "$log"
            return 1
        fi
        sleep 0.05
    done
    sleep "$(awk -v ms="$3" 'BEGIN { print ms / 1000 }')"
    kill -9 "$machine"
    wait "$machine" 2>/dev/null || :
    machine=
    cat "$log" >>"$results/power-cut.log"
    ! grep -q '^broken' "$log" || { grep '^broken' "$log"; return 1; }
    last=$(sed -n 's/^now \([a-z-]*\)\r*$/\1/p' "$log" | tail -n 1)
}

: >"$results/power-cut.log"
start=$(date +%s)
for subject in "$@"; do
    last=none number=0
    in_the_middle=0
    while [ $number -lt "$cuts" ]; do
        number=$((number + 1))
        live "$subject" "$last" "$(instant $number)" || fail "$subject, cut $number, seed $seed"
        case $last in doing-*) in_the_middle=$((in_the_middle + 1)) ;; esac
    done
    [ $in_the_middle -gt 0 ] ||
        fail "$subject: none of $cuts cuts came in the middle of a command, seed $seed"
    # What the last one left is looked at as well.
    live "$subject" "$last" 0 || fail "$subject, after the last cut, seed $seed"
    echo "power cut: $subject: $cuts cuts, $in_the_middle in the middle of a command, all whole or absent"
done
echo "power cut: $(($(date +%s) - start)) s, seed $seed"
