#!/bin/sh
# select.sh KIND PROGRAM: says of every test, one a line, whether a machine of a kind runs it: `run NAME`,
# `other NAME`, which is for another kind, or `none NAME`, which tests/vm/left-out names.
#
# `all`: everything, but of networks only what the kernel decides: the rest needs tools that are no
# part of a small machine. `host` leaves out the subjects in which the host hardly matters: the
# command line, wrong input, what is done to archives and images, the examples and the terminal.
# `network`: networks, ports and volumes; `proxy`: of those what needs no nf_tables; `loopback`: what
# needs no network; `kernel`: what the kernel decides, as every kind does but `namespaces`, for kernels on
# which no container runs. With ROCKER_VM_TESTS only of those whose names match that pattern.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kernel='::what_this_kernel_has'
nothing='^$'
case $1 in
all) pattern=. nothing='^(borders|network|publish)::' ;;
host)
    pattern='^(bare|check|escapes|isolation|layer|leftovers|lifecycle|limits|privileges|restart|run|vfat)::'
    ;;
network) pattern='^(borders|network|publish|volumes)::' ;;
proxy)
    pattern='^(publish::(the_proxy|ports_are|a_port_of_another|without_)|network::(addresses|members|ipv6|a_container_can_share)|volumes)'
    ;;
loopback) pattern='^(run|lifecycle|volumes)::' nothing='::(both_streams|volumes_are_made)' ;;
kernel) pattern=$kernel ;;
namespaces) pattern='::what_this_kernel_has_of_namespaces' kernel=$pattern ;;
esac
left_out=$(sed -n 's/^\([a-z][^ ]*\): .*/\1/p' "$here/left-out")
names=$("$2" --list --format terse | sed -n 's/: test$//p' | sort -u)
echo "$names" | grep -E "${ROCKER_VM_TESTS:-.}" |
    left_out=$left_out pattern=$pattern nothing=$nothing kernel=$kernel awk '
    BEGIN { count = split(ENVIRON["left_out"], left_out, "\n") }
    { for (i = 1; i <= count; i++) if (index($0, left_out[i]) == 1) { print "none", $0; next } }
    $0 ~ ENVIRON["kernel"] || $0 ~ ENVIRON["pattern"] && $0 !~ ENVIRON["nothing"] { print "run", $0; next }
    { print "other", $0 }'
