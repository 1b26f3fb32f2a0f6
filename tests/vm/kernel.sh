#!/bin/sh
# kernel.sh PACKAGE: says the directory that holds the newest Debian kernel of this name, unpacked.
#
# The package is downloaded and unpacked, never installed. What is there already is known by the
# checksum in apt's lists, so another version never passes for this one. The directory holds
# vmlinuz, release, modules.builtin and modules/.
set -eu
cache=${ROCKER_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rocker-vm}
name=$1

# A name without a version depends on the one package that is meant.
package=$(apt-cache depends "$name" 2>/dev/null |
    sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
package=${package:-$name}
checksum() {
    apt-get download --print-uris "$package" 2>/dev/null | sed -n 's/.*SHA256:\([0-9a-f]*\).*/\1/p'
}
sum=$(checksum)
if [ -z "$sum" ]; then
    apt-get -qq update >&2 || :
    sum=$(checksum)
fi
[ -n "$sum" ] || { echo "kernel.sh: apt does not know the package $name" >&2; exit 1; }

directory=$cache/kernels/$(printf %.16s "$sum")
if [ ! -e "$directory/vmlinuz" ]; then
    echo "downloading $package" >&2
    mkdir -p "$cache/kernels"
    work=$(mktemp -d "$cache/kernels/new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM HUP
    # As root apt warns that its own user cannot write here, which does no harm.
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package") >&2
    [ "$(sha256sum <"$(echo "$work"/*.deb)" | cut -d' ' -f1)" = "$sum" ]
    dpkg -x "$work"/*.deb "$work/files"
    mkdir "$work/kernel"
    release=$(ls "$work/files/lib/modules")
    echo "$release" >"$work/kernel/release"
    mv "$work/files/boot/vmlinuz-$release" "$work/kernel/vmlinuz"
    mv "$work/files/lib/modules/$release/modules.builtin" "$work/kernel/modules.builtin"
    mv "$work/files/lib/modules/$release/kernel" "$work/kernel/modules"
    # Another run may have been quicker.
    mv -T "$work/kernel" "$directory" 2>/dev/null || [ -e "$directory/vmlinuz" ]
fi
echo "$directory"
