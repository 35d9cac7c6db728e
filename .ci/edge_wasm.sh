#!/bin/bash
# Compiles mlops-edge for wasm and, where its target is there, for a microcontroller without a standard library, and
# runs the former under node against the stored model.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
rustup target add wasm32-unknown-unknown >/dev/null
cargo build --quiet --release --target wasm32-unknown-unknown -p mlops-edge-wasm
if rustup target add thumbv7em-none-eabi >/dev/null 2>&1; then
    cargo build --quiet --release --target thumbv7em-none-eabi -p mlops-edge
fi
data=mlops-edge/tests/data
node .ci/edge_wasm.mjs "$target/wasm32-unknown-unknown/release/mlops_edge_wasm.wasm" "$data/model_1.mled" "$data/rows_1.tsv"
