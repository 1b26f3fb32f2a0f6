#!/bin/sh
# modules.sh KERNEL DIRECTORY MODULE...: copies modules and what they need, unpacked, into the
# directory, and adds their names to its file `order`, in the order in which to load them.
#
# KERNEL is a directory of kernel.sh. What is built into that kernel, or unknown to it, is left out.
set -eu
kernel=$1 directory=$2
shift 2
mkdir -p "$directory"
touch "$directory/order"

load() {
    # The kernel takes - and _ in the name of a module for the same.
    name=$(echo "$1" | tr - _)
    ! grep -qx "$name" "$directory/order" || return 0
    pattern=$(echo "$name" | sed 's/_/[-_]/g')
    file=$(find "$kernel/modules" -name "$pattern.ko*" | head -n 1)
    [ -n "$file" ] || return 0
    case $file in
    *.xz) xz -dc "$file" >"$directory/$name.ko" ;;
    *) cp "$file" "$directory/$name.ko" ;;
    esac
    for needed in $(tr '\0' '\n' <"$directory/$name.ko" | LC_ALL=C sed -n 's/^depends=//p' | tr , ' '); do
        # In a shell of its own: the names of this function are not local.
        (load "$needed")
    done
    echo "$name" >>"$directory/order"
}

for module in "$@"; do (load "$module"); done
