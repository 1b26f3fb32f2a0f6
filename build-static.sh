#!/bin/sh
# build-static.sh: makes target/rocker, one static-PIE x86_64 binary on musl, stripped.
#
# It takes the first way that works here:
#   rustup  the Rust toolchain in PATH has the musl target and the sources of std, or rustup brings them
#   debian  the packages rustc-web, cargo-web, rust-web-src and musl-tools
# Where a distribution has neither, but packages rustup, rustup is installed and used. Both build
# std along: the one that comes built holds 300 KB that print backtraces.
#
# ROCKER_TOOLCHAIN=rustup|debian takes that way or fails. ROCKER_OUTPUT names another file to make.
# With --cargo it builds nothing: it makes a cargo ready, with rustfmt and clippy, and says the
# directory that it is in.
#
# Same source and same toolchain give the same bytes, wherever the source lies.
set -eu
cd "$(dirname "$0")"

target=x86_64-unknown-linux-musl
mode=${ROCKER_TOOLCHAIN:-auto}
output=${ROCKER_OUTPUT:-target/rocker}
largest=1048576
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

say() { echo "build-static.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

case ${1:-} in
'' | --cargo) purpose=${1:-} ;;
*) fail "unknown option '$1'" ;;
esac
case $mode in
auto | rustup | debian) ;;
*) fail "ROCKER_TOOLCHAIN is '$mode', not auto, rustup or debian" ;;
esac

# Only what is set below may reach the compiler: anything else would change the bytes.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER
export CARGO_INCREMENTAL=0
export HOME="${HOME:-/root}"
[ -d "$HOME/.cargo/bin" ] && PATH="$HOME/.cargo/bin:$PATH"

# Succeeds when the rustc "$1" is not older than Cargo.toml wants.
is_new_enough() {
    version=$("$1" --version 2>/dev/null | cut -d' ' -f2) && [ -n "$version" ] || return 1
    [ "$(printf '%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ]
}

# Succeeds when the toolchain in PATH has what the purpose needs.
is_complete() {
    if [ "$purpose" = --cargo ]; then
        cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1
        return
    fi
    libraries=$(rustc --print sysroot 2>/dev/null)/lib/rustlib
    ls "$libraries/$target/lib/self-contained/rcrt1.o" \
        "$libraries/src/rust/library/Cargo.toml" >/dev/null 2>&1
}

# Completes the toolchain in PATH, or fails.
prepare_rustup() {
    command -v cargo >/dev/null && is_new_enough rustc || return 1
    is_complete && return 0
    command -v rustup >/dev/null || return 1
    if [ -n "$purpose" ]; then
        say "completing the toolchain: rustup component add rustfmt clippy"
        timeout 120 rustup component add rustfmt clippy >&2
    else
        say "completing the toolchain: rustup target add $target, rustup component add rust-src"
        timeout 120 rustup target add "$target" >&2 && timeout 120 rustup component add rust-src >&2
    fi && is_complete
}

is_packaged() { apt-cache show "$1" 2>/dev/null | grep -q '^Package:'; }

prepare_debian() {
    [ "$(id -u)" -ne 0 ] || is_packaged rustc-web || apt-get update -qq >&2 || :
    if ! [ -x /usr/bin/cargo ] && ! is_packaged rustc-web; then return 1; fi
    packages="rustc-web cargo-web gcc libc6-dev binutils ca-certificates"
    if [ "$purpose" = --cargo ]; then
        packages="$packages rustfmt-web rust-web-clippy"
    else
        packages="$packages rust-web-src musl-tools"
    fi
    tests/packages.sh $packages && is_new_enough /usr/bin/rustc
}

# The last resort, where the distribution (Ubuntu) packages rustup but no recent compiler.
install_rustup() {
    is_packaged rustup && tests/packages.sh rustup ca-certificates || return 1
    say "installing the stable Rust toolchain with rustup"
    rustup toolchain install stable --no-self-update --profile minimal --component clippy,rustfmt >&2 &&
        rustup default stable >&2
}

# Says the flags that replace the paths of this machine, which panic messages hold, by fixed names.
renamed_paths() {
    printf -- '--remap-path-prefix=%s=/rocker ' "$PWD"
    printf -- '--remap-path-prefix=%s=/rust ' \
        "$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/src/rust"
    for crates in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        printf -- '--remap-path-prefix=%s=/crates ' "$crates"
    done
}

# Builds with the cargo "$1" and the compiler flags "$2"; says the file made.
build() {
    cargo=$1 flags=$2 directory=target/$way
    # By itself first: the directories of the crates must be known before they are renamed.
    "$cargo" fetch --locked --target "$target" >&2
    # A panic ends the program, so nothing ever unwinds a stack: the tables for it are left out.
    # Where in the source a panic came from is 33 KB of file names and numbers; its message stays.
    flags="$flags -C force-unwind-tables=no -Zlocation-detail=none -C link-arg=-Wl,--build-id=none -C link-arg=-Wl,-z,noseparate-code $(renamed_paths)"
    # The standard library as it is distributed does not check for overflow either: 16 KB.
    unchecked=
    for crate in core alloc std; do
        unchecked="$unchecked --config profile.release.package.$crate.overflow-checks=false"
    done
    RUSTC_BOOTSTRAP=1 CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS=$flags \
        "$cargo" build --locked --release --bins --target "$target" --target-dir "$directory" \
        $unchecked -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size >&2
    built=$directory/$target/release/rocker
}

build_rustup() {
    command -v cc >/dev/null || tests/packages.sh gcc libc6-dev binutils
    # 45 KB less, where the linker knows it. Rust's musl applies such relocations, since 1.2.4;
    # that of Debian 12 is older.
    packed=
    ! ld --help 2>/dev/null | grep -q pack-relative-relocs ||
        packed="-C link-arg=-Wl,-z,pack-relative-relocs"
    build cargo "$packed"
}

# gcc itself, not musl-gcc, knows -static-pie; libc.a must follow rcrt1.o, which needs it. std names
# libunwind, which could print the way to a panic: an archive that finds none does.
build_debian() {
    musl=/usr/lib/x86_64-linux-musl
    empty=$PWD/target/empty-libraries
    mkdir -p "$empty"
    echo 'int _Unwind_Backtrace(void) { return 5; } unsigned long _Unwind_GetIP(void) { return 0; }' |
        gcc -Os -fPIE -x c -c -o "$empty/unwind.o" - && ar rcs "$empty/libunwind.a" "$empty/unwind.o"
    export RUSTC=/usr/bin/rustc
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=gcc
    build /usr/bin/cargo "-C link-self-contained=no -C link-arg=-nostartfiles \
-C link-arg=$musl/rcrt1.o -C link-arg=$musl/libc.a -L native=$musl -L native=$empty"
}

# The promise of one static file, checked rather than assumed.
check() {
    readelf -lW "$1" >/dev/null || fail "$1 cannot be read"
    ! readelf -lW "$1" | grep -q INTERP || fail "$1 wants an interpreter"
    ! readelf -dW "$1" | grep -q NEEDED || fail "$1 needs shared libraries"
    readelf -hW "$1" | grep -q 'Type:.*DYN' || fail "$1 is not position independent"
    ! readelf -SW "$1" | grep -q '\.symtab' || fail "$1 is not stripped"
    size=$(wc -c <"$1")
    [ "$size" -le "$largest" ] || fail "$1 has $size bytes, more than $largest"
}

if [ "$mode" != debian ] && prepare_rustup; then
    way=rustup
elif [ "$mode" != rustup ] && prepare_debian; then
    way=debian
elif [ "$mode" = auto ] && install_rustup && prepare_rustup; then
    way=rustup
else
    fail "no way to build: wanted is Rust $oldest or newer with the target $target ($mode)"
fi
if [ "$purpose" = --cargo ]; then
    [ "$way" = debian ] && echo /usr/bin || dirname "$(command -v cargo)"
    exit
fi
build_$way
check "$built"
mkdir -p "$(dirname "$output")"
cp "$built" "$output.new"
mv "$output.new" "$output"
echo "$output: $size bytes, static, by the $way way"
