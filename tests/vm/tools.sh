#!/bin/sh
# tools.sh DIRECTORY: copies the tools with which the tests look at networks there, with what they
# need: the ip of busybox makes no pair of interfaces, and nft is in no busybox.
set -eu
mkdir -p "$1/test/tools"
for tool in ip ss nft; do
    path=$(PATH="$PATH:/usr/sbin:/sbin" command -v "$tool")
    cp -L "$path" "$1/test/tools/$tool"
    # The libraries and what loads them, each where the tool looks for it.
    ldd "$path" | tr ' \t' '\n\n' | grep '^/' | while read -r library; do
        mkdir -p "$1$(dirname "$library")"
        cp -L "$library" "$1$library"
    done
done
