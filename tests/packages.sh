#!/bin/sh
# packages.sh PACKAGE...: sees to it that these Debian packages are installed.
#
# What is there already is left alone. As root it says what it installs and installs it; for
# anyone else it prints the line to run and fails.
set -eu

if ! command -v dpkg-query >/dev/null; then
    echo "packages.sh: this is no Debian or Ubuntu: install what corresponds to: $*" >&2
    exit 1
fi

missing=
for package in "$@"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=none
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" -ne 0 ]; then
    printf 'these packages are missing; as root, run:\n    %s\n' "$install" >&2
    exit 1
fi
echo "installing packages:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' INT TERM HUP
apt="apt-get -qq -o DPkg::Lock::Timeout=300"
$apt update >"$log" 2>&1 || echo "packages.sh: apt-get update failed, going on with the old lists" >&2
if ! $apt -o Dpkg::Use-Pty=0 install -y --no-install-recommends $missing >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
fi
