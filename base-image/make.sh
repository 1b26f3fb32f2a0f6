#!/bin/sh
# base-image/make.sh: makes base-image/busybox.tar, a small root file system of one static program.
#
# Its applets are hard links of the distribution's static busybox. The same busybox gives the same
# bytes, each time and everywhere: names sorted, one time, owner 0:0, modes set here.
set -eu
cd "$(dirname "$0")"

[ -n "${BUSYBOX:-}" ] || ../tests/packages.sh busybox-static
busybox=${BUSYBOX:-$(command -v busybox)}
if ! LC_ALL=C ldd "$busybox" 2>&1 | grep -q 'not a dynamic'; then
    echo "base-image/make.sh: $busybox is not static: install busybox-static, or name one in BUSYBOX" >&2
    exit 1
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/rocker-base-image.XXXXXX")
trap 'rm -rf "$work" busybox.tar.new' EXIT
trap 'exit 1' INT TERM HUP
umask 022
root=$work/root
mkdir -p "$root"
chmod 755 "$root"

for directory in bin dev etc home mnt opt proc root run sbin srv sys tmp usr usr/bin usr/sbin \
    var var/cache var/lib var/log var/spool var/tmp; do
    mkdir "$root/$directory"
done
chmod 1777 "$root/tmp" "$root/var/tmp"
chmod 700 "$root/root"
ln -s ../run "$root/var/run"
ln -s /proc/self/mounts "$root/etc/mtab"

cat >"$root/etc/passwd" <<'FILE'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
FILE
cat >"$root/etc/group" <<'FILE'
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
lp:x:7:
mail:x:8:
kmem:x:9:
wheel:x:10:root
www-data:x:33:
operator:x:37:
users:x:100:
nogroup:x:65534:
FILE
cat >"$root/etc/hosts" <<'FILE'
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
FILE
cat >"$root/etc/profile" <<'FILE'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
FILE

cp "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
"$busybox" --list-full | while read -r applet; do
    [ "$applet" = bin/busybox ] || ln "$root/bin/busybox" "$root/$applet"
done

# 2026-01-01 00:00:00 UTC.
tar -C "$root" --format=ustar --sort=name --mtime=@1767225600 --owner=0 --group=0 --numeric-owner \
    -cf busybox.tar.new .
mv busybox.tar.new busybox.tar
echo "base-image/busybox.tar: $(wc -c <busybox.tar) bytes, $(tar -tf busybox.tar | wc -l) entries"
