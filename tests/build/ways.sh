#!/bin/sh
# tests/build/ways.sh: proves that each way of build-static.sh works on this machine.
#
# Each way builds a copy of the source in two directories of different names: both must pass the
# script's own checks, run, say the right version, and be the same bytes. The Debian way is taken
# as on a machine that has no Rust at all. Takes some minutes; packages are installed as root only.
set -eu
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
work=$(mktemp -d "${TMPDIR:-/tmp}/rocker-ways.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}
export CARGO_HOME
failures=0

# Builds a copy of the source in the directory "$1"; the rest is the command that builds it.
build_copy() {
    mkdir -p "$1"
    git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf - | tar -C "$1" -xf -
    copy=$1
    shift
    (cd "$copy" && "$@" ./build-static.sh >"$copy.log" 2>&1) || { tail -n 20 "$copy.log"; return 1; }
    [ "$("$copy/target/rocker" --version)" = "rocker $version" ] ||
        { echo "$copy/target/rocker --version is not 'rocker $version'"; return 1; }
}

# Proves the way "$1", which the log must name; the rest is the command that chooses it.
prove() {
    way=$1
    shift
    a=$work/$way/a b=$work/$way/another-directory
    if ! build_copy "$a" "$@" || ! build_copy "$b" "$@"; then
        echo "FAILED $way: no binary"
    elif ! grep -q "by the $way way" "$a.log"; then
        echo "FAILED $way: another way was taken: $(tail -n 1 "$a.log")"
    elif ! cmp -s "$a/target/rocker" "$b/target/rocker"; then
        echo "FAILED $way: two directories give different bytes"
    else
        echo "ok $way: $(tail -n 1 "$a.log"), sha256 $(sha256sum <"$a/target/rocker" | cut -c1-16)"
        rm -rf "${work:?}/$way"
        return
    fi
    failures=$((failures + 1))
}

prove rustup env ROCKER_TOOLCHAIN=rustup
prove debian env -i HOME="$work" CARGO_HOME="$CARGO_HOME" PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ "$failures" -eq 0 ]
