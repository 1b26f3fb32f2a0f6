#!/bin/sh
# tests/bench/run.sh: compiles the yardsticks, installs what rocker is compared with, and runs the
# bench in mount, network and process namespaces of its own: engines see no state of the host's and
# leave none, and all processes end with the bench.
set -eu
cd "$(dirname "$0")/../.."

if [ "${1:-}" = --inside ]; then
    mount -t tmpfs -o mode=755 bench "$BENCH_BASE"
    mount -t tmpfs -o mode=755 bench /run
    mount -t tmpfs -o mode=1777 bench /dev/shm
    # Debian's crun refuses the hybrid layout; hidden here only.
    ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
    ip link set lo up
    exec "$2"
fi

if [ "$(id -u)" -ne 0 ]; then
    echo "make bench: containers need root: run it as root" >&2
    exit 1
fi
tests/packages.sh crun runc podman containernetworking-plugins iptables bubblewrap musl-tools gcc \
    libc6-dev linux-libc-dev e2fsprogs iproute2 procps socat util-linux gzip

BENCH_PROGRAMS=$PWD/target/bench
mkdir -p "$BENCH_PROGRAMS"
for name in limit untar peak flow; do
    # musl's own directory has no headers of the kernel.
    musl-gcc -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu -O2 -static -s -w \
        -o "$BENCH_PROGRAMS/$name" "tests/bench/$name.c"
done
gcc -O2 -static -nostdlib -s -o "$BENCH_PROGRAMS/true" tests/bench/true.c

# Unpacked, because installing it would start a daemon here, outside.
BENCH_DOCKER=$(tests/unpacked.sh docker.io containerd) || BENCH_DOCKER=

PATH="$(./build-static.sh --cargo):$PATH"
log=$BENCH_PROGRAMS/cargo.log
cargo bench --bench numbers --no-run >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
numbers=$(sed -n 's/.*Executable.*(\(.*\)).*/\1/p' "$log")

BENCH_BASE=$(mktemp -d "${TMPDIR:-/tmp}/rocker-bench.XXXXXX")
BENCH_GROUP=rocker-bench-$$
BENCH_IMAGE=$PWD/base-image/busybox.tar
ROCKER_BIN=$PWD/target/rocker
ROCKER_ROOT=$BENCH_BASE/root
ROCKER_RUN_ROOT=$BENCH_BASE/run
export PATH BENCH_DOCKER BENCH_PROGRAMS BENCH_BASE BENCH_GROUP BENCH_IMAGE ROCKER_BIN ROCKER_ROOT ROCKER_RUN_ROOT

finish() {
    trap - EXIT
    rmdir "$BENCH_BASE" || :
    find /sys/fs/cgroup -depth -type d -path "*/$BENCH_GROUP*" -exec rmdir {} \; 2>/dev/null || :
}
trap finish EXIT
trap 'exit 1' INT TERM HUP
unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
    tests/bench/run.sh --inside "$numbers"
