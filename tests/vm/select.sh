#!/bin/sh
# select.sh SUBJECTS PROGRAM: the names of the tests that a machine runs, one a line.
#
# SUBJECTS is `all` or a list such as run,limits. What tests/vm/left-out names is not run in any.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
subjects=.
[ "$1" = all ] || subjects="^($(echo "$1" | tr , '|'))::"
left_out=$(sed -n 's/^\([a-z][^ ]*\): .*/\1/p' "$here/left-out")
"$2" --list --format terse | sed -n 's/: test$//p' | grep -E "$subjects" | grep -v -F "$left_out"
