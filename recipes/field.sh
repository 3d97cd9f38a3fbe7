#!/usr/bin/env bash
# All ways to let a model draft for itself, on one loop: the bundled model (with exits), a chat model
# (without), one that was trained for exits, if there is one, and the shape of Llama 3.2 1B (random
# weights, exits that agree as told).
#
#   recipes/field.sh OUT --data-dir DIR [options of `dynexit bench`]
#
# PROMPTS (a task), NEW_TOKENS, BIG_PROMPTS and BIG_TOKENS set the size. MODELS="bundled chat big" runs
# some only. CHAT and EXITS are the chat models' GGUF files (recipes/smollm2_layerskip.yaml makes the
# second), BIG is a model of the 1B shape, made if it is missing.
# EXTRA="--method NAME ..." adds methods. Killed and started again it continues. OUT/MODEL/report.md has
# the tables, OUT/MODEL/figures the figures; recipes/paste_field.py puts both into docs/field.md.
set -euo pipefail

out=${1:?give the folder for records and reports}
shift
mkdir -p "$out"
dynexit=${DYNEXIT:-dynexit}
here=$(dirname "$0")
read -ra extra <<< "${EXTRA:-}"

# Without exits: at the best published settings, and as measured costs would set them.
free=(--method auto --method lookup --method table
    --method lookahead:window=7 --method lookahead --method jacobi
    --method skip --method swift --method clasp
    --method window:sinks=4,recent=256,speculation_length=4 --method window)

# run NAME BENCH_OPTIONS...
run() {
    local name=$1
    shift
    mkdir -p "$out/$name"
    $dynexit bench --out "$out/$name/run.jsonl" --num-samples "${PROMPTS:-4}" "$@" ${extra[@]+"${extra[@]}"}
    $dynexit report "$out/$name/run.jsonl" --out "$out/$name"
}

# exits EXIT_LAYER LENGTH: methods with exits; LayerSkip's default is a quarter of the depth and 6 tokens.
exits() {
    local fixed="exit_layer=$1,speculation_length=$2"
    with_exits=(--method layerskip --method "layerskip:$fixed" --method "finite-state:$fixed"
        --method "draft-verify:exit_layer=$1" --method del:analysis=full --method del)
}

# chat NAME FILE BENCH_OPTIONS...
chat() {
    local name=$1 file=$2
    shift 2
    data=$(sed -n 's/.*--data-dir[ =]\([^ ]*\).*/\1/p' <<< "$*")
    [ -d "$out/prompts" ] ||
        ${PYTHON:-python} "$here/../benchmarks/chat_prompts.py" "$file" "$data" "$out/prompts"
    tasks=()
    for prompts in "$out"/prompts/*.jsonl; do tasks+=(--task "jsonl:$prompts"); done
    run "$name" --model "$file" "${tasks[@]}" --max-new-tokens "${NEW_TOKENS:-96}" "$@"
}

for model in ${MODELS:-bundled chat ${EXITS:+exits} big}; do
    case $model in
        bundled)
            exits 3 2
            run bundled --template cue --n-shot 0 --max-new-tokens "${NEW_TOKENS:-96}" \
                "${with_exits[@]}" "${free[@]}" "$@"
            ;;
        chat)
            chat chat "${CHAT:?give the chat model as CHAT=FILE.gguf, or leave it out of MODELS}" \
                "${free[@]}" "$@"
            ;;
        exits)
            exits 3 2
            chat exits "${EXITS:?give the chat model with exits as EXITS=FILE.gguf}" \
                "${with_exits[@]}" "${free[@]}" "$@"
            ;;
        big)
            big=${BIG:-$out/1b.gguf}
            [ -e "$big" ] || $dynexit synth "$big" --like llama3.2-1b --type q4_0 \
                --agreement 3:0.74 --agreement 8:0.98 --zipf 1.2
            exits 3 3
            PROMPTS=${BIG_PROMPTS:-2} run big --model "$big" --template cue --n-shot 0 \
                --task gsm8k --task wmt14_de_en --max-new-tokens "${BIG_TOKENS:-24}" \
                "${with_exits[@]}" "${free[@]}" "$@"
            ;;
        *)
            echo "no model $model: use bundled, chat, exits or big" >&2
            exit 2
            ;;
    esac
done
