#!/bin/sh
# unpacked.sh PACKAGE...: says the directory that holds these Debian packages and the libraries that
# they need, unpacked.
#
# They are downloaded and unpacked, never installed: installing a server would start it here. The
# directory is kept in ${XDG_CACHE_HOME:-~/.cache}/rocker-packages under the checksums of all its
# packages in apt's lists, so another version never passes for these.
set -eu
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/rocker-packages
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "unpacked.sh: this is no Debian or Ubuntu" >&2
    exit 1
fi

# The packages given and, of what they depend on and so on, the libraries: programs that only the
# installation needs are not wanted.
closure() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances "$@" 2>/dev/null |
        awk -v given=" $* " '
            /^[^ <]/ { of = $1; known[of] = 1; next }
            / Depends: [^<]/ { needs[of] = needs[of] " " $NF }
            END {
                count = split(given, queue, " ")
                for (i = 1; i <= count; i++) {
                    if (queue[i] in done) continue
                    done[queue[i]] = 1
                    print queue[i]
                    more = split(needs[queue[i]], next_ones, " ")
                    for (j = 1; j <= more; j++)
                        if (next_ones[j] ~ /^(lib|zlib|lua-)/ && next_ones[j] in known) queue[++count] = next_ones[j]
                }
            }'
}
# As root apt warns that its own user cannot write here, which does no harm.
download() { apt-get -qq -o APT::Sandbox::User=root download "$@"; }

# Succeeds when apt knows all that is wanted; sets what that is, and the checksums.
look() {
    list=$(closure "$@" | LC_ALL=C sort)
    sums=$(download --print-uris $list 2>/dev/null | sed -n 's/.*SHA256:\([0-9a-f]*\).*/\1/p')
    [ "$(echo "$sums" | wc -w)" -eq "$(echo "$list" | wc -w)" ]
}
look "$@" || { apt-get -qq update >&2 || :; look "$@"; } ||
    { echo "unpacked.sh: apt does not know all of: $*" >&2; exit 1; }

directory=$cache/$(echo "$sums" | LC_ALL=C sort | sha256sum | head -c 16)
if [ ! -e "$directory" ]; then
    echo "downloading $(echo "$list" | tr '\n' ' ')" >&2
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/new.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM HUP
    (cd "$work" && download $list) >&2
    mkdir "$work/files"
    # apt has checked what it downloads against its lists.
    for package in "$work"/*.deb; do dpkg -x "$package" "$work/files"; done
    rm -rf "$work/files/usr/share/doc" "$work/files/usr/share/man" "$work/files/usr/share/locale"
    chmod 755 "$work/files"
    # Another run may have been quicker.
    mv -T "$work/files" "$directory" 2>/dev/null || [ -e "$directory" ]
fi
echo "$directory"
