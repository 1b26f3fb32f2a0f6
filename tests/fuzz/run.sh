#!/bin/sh
# Runs each fuzz target for $1 seconds (600), with the seeds and what earlier runs found. Needs a
# nightly toolchain and cargo-fuzz: rustup toolchain install nightly, cargo install cargo-fuzz.
set -eu
cd "$(dirname "$0")"
seconds=${1:-600}
for target in tar reference state accounts options profile template; do
    mkdir -p "corpus/$target"
    cargo +nightly fuzz run --sanitizer none --fuzz-dir . "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=1024 -malloc_limit_mb=64 -timeout=10 -print_final_stats=1
done
