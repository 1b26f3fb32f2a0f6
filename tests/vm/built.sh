#!/bin/sh
# built.sh OPTION: says the directory that holds a small kernel that was built without this option.
#
# Debian's kernels have each namespace compiled in, and a limit of 0 is another refusal than a kernel
# that knows none. The source is Debian's package linux-source-6.1, downloaded and unpacked, never
# installed; the kernel has no modules. It is kept beside those of kernel.sh under a checksum of
# package, options and this script. Five minutes of a processor.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
without=$1
package=linux-source-6.1
cache=${ROCKER_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rocker-vm}

options() {
    for option in 64BIT PRINTK TTY SERIAL_8250 SERIAL_8250_CONSOLE BLK_DEV_INITRD BINFMT_ELF \
        BINFMT_SCRIPT MULTIUSER FUTEX EPOLL SIGNALFD TIMERFD EVENTFD SHMEM AIO POSIX_TIMERS \
        FILE_LOCKING INOTIFY_USER PROC_FS PROC_SYSCTL SYSFS TMPFS TMPFS_XATTR DEVTMPFS UNIX98_PTYS SYSVIPC \
        POSIX_MQUEUE CGROUPS CGROUP_PIDS MEMCG CGROUP_FREEZER NAMESPACES UTS_NS IPC_NS USER_NS \
        PID_NS NET NET_NS UNIX INET PACKET SECCOMP SECCOMP_FILTER OVERLAY_FS HIGH_RES_TIMERS \
        ACPI PCI BLOCK; do
        [ "$option" = "$without" ] || echo "CONFIG_$option=y"
    done
    echo "CONFIG_$without=n"
}

print_uris() { apt-get download --print-uris "$package" 2>/dev/null; }
sum=$(print_uris | sed -n 's/.*SHA256:\([0-9a-f]*\).*/\1/p')
if [ -z "$sum" ]; then
    apt-get -qq update >&2 || :
    sum=$(print_uris | sed -n 's/.*SHA256:\([0-9a-f]*\).*/\1/p')
fi
[ -n "$sum" ] || { echo "built.sh: apt does not know the package $package" >&2; exit 1; }

directory=$cache/kernels/$({ echo "$sum" && options && cat "$here/built.sh"; } | sha256sum | cut -c1-16)
if [ ! -e "$directory/vmlinuz" ]; then
    "$here/../packages.sh" make gcc libc6-dev flex bison bc libelf-dev xz-utils >&2
    echo "building a kernel without $without" >&2
    mkdir -p "$cache/kernels"
    work=$(mktemp -d "$cache/kernels/new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM HUP
    # As root apt warns that its own user cannot write here, which does no harm.
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package") >&2
    [ "$(sha256sum <"$(echo "$work"/*.deb)" | cut -d' ' -f1)" = "$sum" ]
    dpkg -x "$work"/*.deb "$work/files"
    tar -C "$work" -xf "$work/files/usr/src/$package.tar.xz"
    (
        cd "$work/$package"
        options >wanted
        # Nothing from outside: neither the options of another make nor its targets.
        make() { env -u MAKEFLAGS -u MAKEOVERRIDES make -s "$@"; }
        make tinyconfig
        ./scripts/kconfig/merge_config.sh -m -O . .config wanted
        make olddefconfig
        ! grep -q "^CONFIG_$without=" .config
        make -j"$(nproc)" bzImage
    ) >"$work/said" 2>&1 || { tail -n 20 "$work/said" >&2; exit 1; }
    mkdir -p "$work/kernel/modules"
    mv "$work/$package/arch/x86/boot/bzImage" "$work/kernel/vmlinuz"
    # Another run may have been quicker.
    mv -T "$work/kernel" "$directory" 2>/dev/null || [ -e "$directory/vmlinuz" ]
fi
echo "$directory"
