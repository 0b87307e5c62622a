#!/usr/bin/env bash
# usage: fuzz/run.sh [target...]   Runs each target for SECONDS (600), one after another; fails at the
# first finding, whose input is then in fuzz/findings/. Coverage comes from the compiler's own pass, on
# the stable toolchain; libFuzzer is built by the crate libfuzzer-sys. Inputs found on the way are kept in
# fuzz/found/ for the next run; what is worth committing goes to fuzz/corpus/ by `fuzz/run.sh --merge`.
set -euo pipefail
cd "$(dirname "$0")"

host=$(rustc -vV | sed -n 's/^host: //p')
passes="-Cpasses=sancov-module -Ccodegen-units=1 -Cllvm-args=-sanitizer-coverage-level=4"
passes+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
passes+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="--cfg fuzzing $passes" nice cargo build --release --locked --target "$host"
programs="target/$host/release"

if [ "${1:-}" = --merge ]; then
  for target in batch seglog config texts snapshot; do
    rm -rf "merged/$target" && mkdir -p "merged/$target" "found/$target"
    "$programs/$target" -merge=1 -max_len=1024 "merged/$target" "corpus/$target" "found/$target"
  done
  exit
fi

targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(batch seglog config texts snapshot)
for target in "${targets[@]}"; do
  mkdir -p "found/$target" findings
  echo "fuzzing $target for ${SECONDS_EACH:-600} s"
  nice "$programs/$target" -max_total_time="${SECONDS_EACH:-600}" -max_len=4096 -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="findings/$target-" \
    "found/$target" "corpus/$target"
done
