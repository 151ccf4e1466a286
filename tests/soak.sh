#!/usr/bin/env bash
# The long versions of the tests: the same tests, more seeds, more rounds, fuzzing. Usage: tests/soak.sh BIN_DIR
# KAIGI_FUZZ_SECONDS (default 600) per fuzz target; prints a summary and exits non-zero if anything failed.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "${1:?usage: tests/soak.sh BIN_DIR}")
fuzz_seconds=${KAIGI_FUZZ_SECONDS:-600}
summary=()
failed=0

step() {
    local name=$1 start=$SECONDS status
    shift
    echo "== $name"
    "$@"
    status=$?
    ((status == 0)) || failed=1
    summary+=("$( ((status == 0)) && echo passed || echo FAILED)  $((SECONDS - start)) s  $name")
}

step "engine, 5000 seeds of chaos" env CHAOS_SEEDS=5000 cargo test --release --locked -p dataplane --lib chaos -- --nocapture
step "bandwidth estimator, 400 kinds of links" env BWE_KINDS=400 cargo test --release --locked -p dataplane --lib bwe::traces -- --nocapture
step "rate control of whole rooms, 200 seeds" env RATE_SEEDS=200 cargo test --release --locked -p tests --test rate -- --nocapture
step "simulation, 1000 seeds" env SIMULATION_SEEDS=1000 cargo test --release --locked -p tests --test simulation -- --nocapture
step "durability, 200 kills and 200 power losses" env KAIGI_BIN="$bin" KAIGI_SOAK_ROUNDS=200 cargo test --release --locked -p tests --test durability -- --nocapture
step "requests repeated after 200 kills" env KAIGI_BIN="$bin" KAIGI_SOAK_ROUNDS=200 cargo test --release --locked -p tests --test idempotency -- --nocapture
step "API conformance, 500 examples of each operation" env KAIGI_BIN="$bin" KAIGI_CONFORMANCE_EXAMPLES=500 cargo test --release --locked -p tests --test conformance -- --nocapture
step "store, acknowledged writes" "$bin/kaigi-perf" store
(cd tests/e2e && npm ci --no-audit --no-fund --loglevel=error)
step "browsers after kill -9, 10 rounds" env KAIGI_BIN="$bin" KAIGI_RESTART_ROUNDS=10 node --test --test-reporter=spec tests/e2e/restart.test.mjs
step "signalling cut 20 times, 20 joins" env KAIGI_BIN="$bin" KAIGI_CUTS=20 KAIGI_JOINS=20 node --test --test-reporter=spec tests/e2e/protocol.test.mjs
step "data packets, 10,000 each way and 20 resumes" env KAIGI_BIN="$bin" KAIGI_DATA_MESSAGES=10000 KAIGI_DATA_CUTS=20 node --test --test-reporter=spec tests/e2e/data.test.mjs

# Coverage-guided, without a sanitizer: that runs on the stable compiler.
if ! command -v cargo-fuzz >/dev/null; then
    step "install cargo-fuzz" cargo install --locked cargo-fuzz
fi
for target in tests/fuzz/fuzz_targets/*.rs; do
    name=$(basename "$target" .rs)
    # New inputs go to a scratch corpus; the committed one stays small.
    scratch=$(mktemp -d)
    step "fuzz $name, $fuzz_seconds s" cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$name" "$scratch" "tests/fuzz/corpus/$name" -- \
        -max_total_time="$fuzz_seconds" -print_final_stats=1
    rm -rf "$scratch"
done

echo
printf '%s\n' "${summary[@]}"
exit $failed
