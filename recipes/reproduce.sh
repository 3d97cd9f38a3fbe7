#!/usr/bin/env bash
# DEL's main table (arXiv 2504.05598, table 1), for a machine that has the weights: five checkpoints,
# seven tasks, five methods, 1,000 samples, 512 new tokens, greedy, fp16, batch 1.
#
#   recipes/reproduce.sh OUT [options of `dynexit bench`, such as --data-dir DIR or --ray auto]
#
# CHECKPOINTS="llama3.2-1B llama3-8B" runs some of them only. Killed and started again it continues.
# (E, d) are those of the paper's tables; PAIRS=script takes those of its published script, which
# differ for 8B and 13B.
#
# Memory in fp16, weights and keys and values of 4,096 positions: llama3.2-1B 2.6 GB, llama3-8B 16.6,
# llama2-7B 15.6, llama2-13B 29.4, llama2-70B 139.3. The last runs in RANKS processes, one a card
# (4 by default; 2 and 8 are possible, too), which hold 34.8 GB each. It takes no --ray.
set -euo pipefail

out=${1:?give the folder for records and report}
shift
mkdir -p "$out"
dynexit=${DYNEXIT:-dynexit}

pair_of() {
    case "${PAIRS:-paper}:$1" in
        script:llama3-8B) echo "3 3" ;;
        script:llama2-13B) echo "13 4" ;;
        *:llama3.2-1B | *:llama3-8B) echo "3 6" ;;
        *:llama2-7B) echo "7 6" ;;
        *:llama2-13B) echo "7 4" ;;
        *:llama2-70B) echo "9 6" ;;
        *) echo "no checkpoint $1: use llama3.2-1B, llama3-8B, llama2-7B, llama2-13B or llama2-70B" >&2
           exit 2 ;;
    esac
}

for name in ${CHECKPOINTS:-llama3.2-1B llama3-8B llama2-7B llama2-13B llama2-70B}; do
    read -r exit_layer length <<< "$(pair_of "$name")"
    [ -n "$exit_layer" ] || exit 2
    fixed="exit_layer=$exit_layer,speculation_length=$length"
    launch=$dynexit
    [ "$name" != llama2-70B ] ||
        launch="${TORCHRUN:-torchrun} --standalone --nproc-per-node ${RANKS:-4} -m dynexit"
    $launch bench --model "facebook/layerskip-$name" --out "$out/$name.jsonl" \
        --method vanilla \
        --method "layerskip:$fixed" \
        --method "finite-state:$fixed" \
        --method "draft-verify:exit_layer=$exit_layer,carry=true" \
        --method del:analysis=full \
        --num-samples 1000 --max-new-tokens 512 --dtype fp16 "$@"
done
$dynexit report "$out"/*.jsonl --out "$out/report"
