#!/bin/sh
# select.sh all|host PROGRAM: the names of the tests that a machine runs, one a line.
#
# `host` leaves out the subjects in which the host hardly matters: the command line, wrong input,
# what is done to archives and images, the examples and the terminal. What tests/vm/left-out names
# is not run in any machine.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
pattern=.
[ "$1" = all ] || pattern='^(bare|check|escapes|isolation|layer|leftovers|lifecycle|limits|privileges|restart|run)::'
left_out=$(sed -n 's/^\([a-z][^ ]*\): .*/\1/p' "$here/left-out")
"$2" --list --format terse | sed -n 's/: test$//p' | grep -E "$pattern" | grep -v -F "$left_out"
