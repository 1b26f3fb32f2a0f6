# What the scripts that boot machines share; sourced, with `here` set to this directory.

# Says a directory as an archive that the kernel unpacks.
archive() {
    (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | busybox cpio -o -H newc -R 0:0 2>/dev/null)
}

# make_files TREE WORK KERNEL ROOT: makes WORK/initrd and, where the root is no initramfs, WORK/disk,
# of the tree of all machines and what this one alone has, WORK/own. The variable modules says
# which modules it has.
make_files() {
    overlay=overlay network="veth bridge" nft="nf_tables nft_chain_nat nft_masq nft_nat nft_ct nft_fib_ipv4 nft_fib_ipv6"
    # Elsewhere ports are published without the list of connections.
    [ "${tests:-}" != network ] || nft="$nft nf_conntrack_netlink"
    case $modules in
    no-overlay) overlay= ;;
    no-nft) nft= ;;
    no-bridge) network=veth ;;
    no-veth) network=bridge ;;
    esac
    mkdir -p "$2/own/modules"
    "$here/modules.sh" "$3" "$2/own/modules/host" $overlay loop vfat nls_cp437 nls_ascii $network $nft
    "$here/modules.sh" "$3" "$2/own/modules/disk" virtio_pci virtio_blk crc32c_generic ext4 \
        squashfs
    if [ "$4" = initramfs ]; then
        mkdir -p "$2/own/tmp"
        { archive "$1"; archive "$2/own"; } >"$2/initrd"
        return
    fi
    # The initramfs only looks for the disk.
    mkdir -p "$2/first/test" "$2/disk-tree"
    cp -a "$1/bin" "$1/init" "$2/own/modules" "$2/first/"
    cp "$2/own/test/machine" "$2/first/test/"
    archive "$2/first" >"$2/initrd"
    cp -a "$1/." "$2/own/." "$2/disk-tree"
    (cd "$2/disk-tree" && mkdir -p proc sys dev run var tmp)
    busybox --list | while read -r applet; do
        [ "$applet" = busybox ] || ln -s busybox "$2/disk-tree/bin/$applet"
    done
    if [ "$4" = ext4 ]; then
        truncate -s 1G "$2/disk"
        /sbin/mkfs.ext4 -q -E root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1 \
            -d "$2/disk-tree" "$2/disk"
    else
        mksquashfs "$2/disk-tree" "$2/disk" -quiet -no-progress -all-root -comp gzip \
            -Xcompression-level 1 >/dev/null
    fi
    rm -rf "$2/disk-tree" "$2/first"
}

# hold NAME: makes the directory `work` and finds a `kernel`. Neither the directory nor the qemu whose
# process is `machine`, where that is not empty, outlives the script.
hold() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/rocker-vm-$1.XXXXXX")
    machine=
    trap end EXIT
    trap 'exit 1' INT TERM HUP
    kernel=$("$here/kernel.sh" linux-image-6.12-cloud-amd64)
}
end() {
    [ -z "$machine" ] || kill -9 "$machine" 2>/dev/null || :
    rm -rf "$work"
}

# make_guest SCRIPT: makes the files, below `work`, of a machine with a disk that runs SCRIPT of this
# directory, from the `tree` of all machines and WORK/own.
make_guest() {
    mkdir -p "$work/own/test"
    cp "$here/$1" "$work/own/test/run"
    echo "root=ext4 cgroups=v2 mounted=yes" >"$work/own/test/machine"
    modules=all
    make_files "$tree" "$work" "$kernel" ext4
}

# machine_options WORK MEMORY: what qemu is told in any case. Without KVM: where the machine is
# virtual itself, /dev/kvm may open and then emulate a kernel at a hundredth of the speed. Type pc,
# because the clock of microvm cannot be calibrated in emulation and some boots hang.
machine_options() {
    echo "-nodefaults -no-user-config -no-reboot -display none -M pc -accel tcg -cpu max -smp 1 -m $2"
    [ ! -e "$1/disk" ] ||
        echo "-drive file=$1/disk,if=none,format=raw,id=disk,cache=unsafe -device virtio-blk-pci,drive=disk"
}

# kernel_options CGROUPS. Without norandmaps each start of a program is translated anew.
kernel_options() {
    echo "console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests random.trust_cpu=on \
norandmaps rdinit=/init"
    case $1 in
    v2 | unmounted) echo cgroup_no_v1=all ;;
    # Not compiled out, but nothing that uses them can tell.
    none) echo cgroup_disable=cpu,cpuacct,cpuset,memory,pids,io,blkio,devices,freezer ;;
    esac
}
