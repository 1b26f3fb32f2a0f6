#!/bin/sh
# kernel.sh [SUITE:]PACKAGE: says the directory that holds the newest Debian kernel of this name, unpacked.
#
# The package is downloaded and unpacked, never installed. What is there already is known by the
# checksum in apt's lists, so another version never passes for this one. The directory holds
# vmlinuz, release, modules.builtin and modules/. Of an older SUITE than this machine's apt keeps
# lists beside the kernels, from the same mirror.
# without-OPTION is one that built.sh makes.
set -eu
case $1 in without-*) exec "$(dirname "$0")/built.sh" "${1#without-}" ;; esac
cache=${ROCKER_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rocker-vm}
suite= name=$1
case $name in *:*) suite=${name%%:*} name=${name#*:} ;; esac
lists=$cache/lists-$suite sources=$cache/$suite.list

# What apt is told of a suite: other lists, and nothing of this machine's.
apt() {
    command=$1
    shift
    [ -z "$suite" ] || set -- -o Dir::State::lists="$lists" -o Dir::Etc::sourcelist="$sources" \
        -o Dir::Etc::sourceparts=/dev/null -o APT::Default-Release= -o APT::Sandbox::User=root \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@"
    "apt-$command" "$@"
}

# The mirror that this machine has its own packages from.
mirror() {
    apt-get indextargets --format '$(REPO_URI) $(ORIGIN)' | sed -n 's/ Debian$//p' | head -n 1
}

if [ -n "$suite" ]; then
    mkdir -p "$lists/partial"
    echo "deb $(mirror) $suite main" >"$sources"
fi

# A name without a version depends on the one package that is meant.
find_package() {
    package=$(apt cache depends "$name" 2>/dev/null |
        sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    package=${package:-$name}
    sum=$(apt get download --print-uris "$package" 2>/dev/null | sed -n 's/.*SHA256:\([0-9a-f]*\).*/\1/p')
}
find_package
if [ -z "$sum" ]; then
    apt get -qq update >&2 || :
    find_package
fi
[ -n "$sum" ] || { echo "kernel.sh: apt does not know the package $1" >&2; exit 1; }

directory=$cache/kernels/$(printf %.16s "$sum")
if [ ! -e "$directory/vmlinuz" ]; then
    echo "downloading $package" >&2
    mkdir -p "$cache/kernels"
    work=$(mktemp -d "$cache/kernels/new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM HUP
    # As root apt warns that its own user cannot write here, which does no harm.
    (cd "$work" && apt get -qq -o APT::Sandbox::User=root download "$package") >&2
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
