#!/bin/sh
# judge.sh NUMBER SELECTED LOG: whether a machine ran the tests that SELECTED, made by select.sh, gives it,
# all of them well, and skipped no more than tests/vm/skips expects of it, for the reasons that stand
# there. Says what it found, in lines; the last one also how many tests were not for this machine.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
number=$1 selected=$2 log=$3
count() { grep -c "$1" "$2" || :; }
wanted=$(count '^run ' "$selected")
failed=0
fail() {
    echo "machine $number: $*"
    failed=1
}
ended=$(tr -d '\r' <"$log" | sed -n 's/^machine: end \(.*\)/\1/p')

[ -n "$ended" ] || fail "gave no result"
ok=$(count '^test .* \.\.\. ok' "$log")
[ "$ok" -eq "$wanted" ] || fail "$ok of $wanted tests are well"
sed -n 's/^test \(.*\) \.\.\. FAILED/    failed: \1/p' "$log"
case $ended in
"0 "*) ;;
*) fail "ended with ${ended:-nothing}" ;;
esac

# What is skipped is part of the result: it may shrink, but not grow unseen, nor for another reason.
expected=$(sed -n "s/^\($number\|\*\)  *\([a-z][^ ]*: .*\)/\2/p" "$here/skips")
skipped=0 grown=0
while read -r _ skip; do
    [ -n "$skip" ] || continue
    skipped=$((skipped + 1))
    known=
    if ! echo "$expected" | grep -qxF -e "$skip"; then
        known=", which tests/vm/skips does not expect"
        grown=1
    fi
    echo "    skipped: $skip$known"
done <<SKIPS
$(sed -n 's/\r$//; /^skipped /p' "$log" | sort -u)
SKIPS
for name in $(echo "$expected" | sed 's/: .*//'); do
    grep -qxF "run $name" "$selected" || continue
    grep -q "^skipped $name:" "$log" || echo "    no longer skipped: $name: take it out of tests/vm/skips"
done
[ "$grown" -eq 0 ] || fail "other skips than expected"
[ "$failed" -eq 0 ] && echo "machine $number: $ok tests in ${ended#* after }, $skipped skipped;" \
    "$(count '^other ' "$selected") not for this kind of machine, $(count '^none ' "$selected") for none"
exit "$failed"
