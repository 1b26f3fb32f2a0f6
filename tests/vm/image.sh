#!/bin/sh
# image.sh DIRECTORY: makes the tree of every test machine there: busybox, the binary, the tests and
# what they need. Root file systems are made of it, without anything that a machine does not have.
set -eu
cd "$(dirname "$0")/../.."
tree=$1
rocker=${ROCKER_BIN:-target/rocker}
PATH="$(./build-static.sh --cargo):$PATH"
export PATH
# The test program must be static. Debian's toolchain has no musl, but glibc can be static too.
target=x86_64-unknown-linux-musl
if ! ls "$(rustc --print sysroot)/lib/rustlib/$target/lib" >/dev/null 2>&1; then
    target=x86_64-unknown-linux-gnu
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"
    export CARGO_TARGET_DIR=target/vm-tests
fi

mkdir -p "$tree/bin" "$tree/root" "$tree/test/programs" "$tree/test/base-image" "$tree/test/doc"
cp "$(command -v busybox)" "$tree/bin/busybox"
cp tests/vm/init "$tree/init"
chmod 755 "$tree/init"
cp "$rocker" "$tree/test/rocker"
cp tests/vm/guest-run "$tree/test/run"
cp base-image/busybox.tar base-image/make.sh "$tree/test/base-image/"
cp README.md Cargo.toml "$tree/test/"
cp doc/*.md "$tree/test/doc/"

# Cargo says where it put the program, in one of many lines of JSON.
tests=$(CARGO_PROFILE_DEV_DEBUG=0 cargo test --no-run --target "$target" --test integration \
    --message-format json |
    sed -n 's/.*"executable":"\([^"]*integration-[^"]*\)".*/\1/p')
[ -x "$tests" ]
cp "$tests" "$tree/test/integration"
strip "$tree/test/integration"

for source in tests/integration/programs/*.c; do
    musl-gcc -O1 -static -s -o "$tree/test/programs/$(basename "$source" .c)" "$source"
done
