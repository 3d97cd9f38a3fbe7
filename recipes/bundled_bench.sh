#!/usr/bin/env bash
# The bundled model on seven tasks: all methods and ablations, then the grid of fixed pairs, and the
# report of both.
#
#   recipes/bundled_bench.sh OUT --data-dir DIR [options of `dynexit bench`]
set -euo pipefail

out=${1:?give the folder for records and report}
shift
dynexit=${DYNEXIT:-dynexit}
common=(--template cue --max-new-tokens "${NEW_TOKENS:-96}")

$dynexit bench --out "$out/methods.jsonl" "${common[@]}" --num-samples "${SAMPLES:-20}" \
    --method layerskip:exit_layer=3,speculation_length=3 \
    --method layerskip:exit_layer=3,speculation_length=3,draft_vocabulary=2048 \
    --method finite-state:exit_layer=3,speculation_length=3 \
    --method draft-verify:exit_layer=3 \
    --method del --method del-e --method del-e-lim --method del-d:exit_layer=3 \
    --method del:analysis=full --method del:analysis=full,draft_vocabulary=2048 \
    --method del:analysis=full,cap=planned --method del-e:analysis=full \
    --method del-e-lim:analysis=full --method del-d:analysis=full,exit_layer=3 "$@"
$dynexit sweep --out "$out/grid.jsonl" "${common[@]}" --num-samples "${GRID_SAMPLES:-6}" \
    --exit-layers 1-5,7 --lengths 1-4,6 "$@"
$dynexit report "$out/methods.jsonl" "$out/grid.jsonl" --out "$out/report"
