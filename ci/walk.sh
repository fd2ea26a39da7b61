#!/usr/bin/env bash
# The way of a model in a pipeline: profile → partition → package → verify → deploy (a dry
# run), and the plan against that of the base branch. All input comes by environment:
#
#   INPUT_MODEL           ONNX file, or a name from `tranche models list`
#   INPUT_FOLDER          where profile.json, plan.json, tranche.lock and bundle/ are [default: .]
#   INPUT_LOCKED          true: refuse what is not as tranche.lock says [default: false]
#   INPUT_ARGUMENTS       flags of every verb that takes the model, as `--engine onnxruntime`
#   INPUT_PLAN_ARGUMENTS  flags of `partition`, as `--max-memory 512`
#   INPUT_BASE            a commit or branch whose plan.json is compared with, or a plan's path;
#                         where there is none, the whole model in one function
#   INPUT_DEPLOYMENT      name of a deployment on this machine to compare with [default: none]
#   INPUT_RESULTS         where the verbs' JSON goes [default: INPUT_FOLDER/results]
#   TRANCHE               the program [default: tranche]
#
# Exits as the verb that failed. Writes results/summary.md; appends it to
# $GITHUB_STEP_SUMMARY, and outputs to $GITHUB_OUTPUT, where these are.
set -euo pipefail
shopt -s inherit_errexit

tranche=${TRANCHE:-tranche}
model=${INPUT_MODEL:?INPUT_MODEL names no model}
folder=${INPUT_FOLDER:-.}
results=${INPUT_RESULTS:-$folder/results}
profile=$folder/profile.json plan=$folder/plan.json bundle=$folder/bundle lock=$folder/tranche.lock
read -r -a arguments <<<"${INPUT_ARGUMENTS:-}"
read -r -a plan_arguments <<<"${INPUT_PLAN_ARGUMENTS:-}"
locked=()
if [ "${INPUT_LOCKED:-false}" = true ]; then
    locked=("--locked=$lock")
fi
if [[ ${INPUT_BASE:-} == -* ]]; then
    # git would take it for a flag.
    printf 'error: INPUT_BASE is no commit: %s\n' "$INPUT_BASE" >&2
    exit 2
fi
mkdir -p "$results"

output() {
    if [ -n "${GITHUB_OUTPUT:-}" ]; then
        printf '%s=%s\n' "$1" "$2" >>"$GITHUB_OUTPUT"
    fi
}

# A failure's message and hint, and a mark on the pull request.
report() {
    local text
    text=$(jq -r '.error | .message + (if .hint then "\nhint: " + .hint else "" end)' "$2")
    printf 'error: tranche %s: %s\n' "$1" "$text" >&2
    if [ -n "${GITHUB_ACTIONS:-}" ]; then
        text=${text//'%'/'%25'}
        text=${text//$'\r'/'%0D'}
        text=${text//$'\n'/'%0A'}
        printf '::error title=tranche %s::%s\n' "$1" "$text"
    fi
}

# Runs a verb; its one JSON document goes to results/VERB.json. 10 is an answer, not a failure.
verb() {
    local name=${result:-$1} code=0
    printf 'tranche %s\n' "$*" >&2
    "$tranche" "$@" --json --no-progress >"$results/$name.json" || code=$?
    if [ "$code" -ne 0 ] && [ "$code" -ne 10 ]; then
        report "$name" "$results/$name.json"
        output failed "$name"
        output exit-code "$code"
        exit "$code"
    fi
    return 0
}

# The plan of the base branch, or that of the whole model.
base_plan() {
    local base=${INPUT_BASE:-} path
    if [ -n "$base" ] && [ -f "$base" ]; then
        printf '%s\n' "$base"
        return
    fi
    if [ -n "$base" ] && path=$(git -C "$folder" rev-parse --show-prefix 2>/dev/null)plan.json; then
        if ! git -C "$folder" rev-parse --quiet --verify "$base^{commit}" >/dev/null; then
            # A shallow clone has the head alone.
            git -C "$folder" fetch --quiet --depth=1 origin "$base" && base=FETCH_HEAD
        fi
        if git -C "$folder" show "$base:$path" >"$results/base-plan.json" 2>/dev/null; then
            printf '%s\n' "$results/base-plan.json"
            return
        fi
    fi
    printf 'no plan to compare with: the whole model in one function is taken\n' >&2
    printf '%s\n' "$results/unsplit-plan.json"
}

if [ ! -f "$profile" ]; then
    verb profile "$model" "${arguments[@]}" --output "$profile"
fi
verb partition "$model" "${arguments[@]}" "${plan_arguments[@]}" --profile "$profile" --output "$plan" "${locked[@]}"
verb package "$model" "${arguments[@]}" --plan "$plan" --output "$bundle" "${locked[@]}"
verb verify "$model" "${arguments[@]}" --bundle "$bundle" "${locked[@]}"
changes=""
if [ -n "${INPUT_DEPLOYMENT:-}" ]; then
    code=0
    "$tranche" deploy "$bundle" --name "$INPUT_DEPLOYMENT" --dry-run --detailed-exitcode --json \
        "${locked[@]}" >"$results/deploy.json" || code=$?
    case $code in
        0) changes=false ;;
        10) changes=true ;;
        *)
            report deploy "$results/deploy.json"
            output failed deploy
            output exit-code "$code"
            exit "$code"
            ;;
    esac
fi
base=$(base_plan)
if [ "$base" = "$results/unsplit-plan.json" ]; then
    # The whole model may break the bounds that the plan was made for.
    result=unsplit verb partition "$model" "${arguments[@]}" --profile "$profile" --strategy unsplit \
        --min-slices 1 --max-memory 1048576 --slo 1e12 --output "$base"
fi
verb diff "$base" "$plan"

{
    "$tranche" diff "$base" "$plan" --markdown
    printf '\n'
    jq -r '"Verified: slices and whole model " + (if all(.outputs[]; .bit_identical) then "give the same bits" else "agree within \(.tolerance)" end) + " on \(.environment.engine) \(.environment.engine_version)."' "$results/verify.json"
    case $changes in
        true) printf '\nDeploying would change %s.\n' "$INPUT_DEPLOYMENT" ;;
        false) printf '\nDeploying would change nothing.\n' ;;
    esac
} >"$results/summary.md"
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    cat "$results/summary.md" >>"$GITHUB_STEP_SUMMARY"
fi

number() { jq -r "$1" "$results/diff.json"; }
output slices "$(number .head.slices)"
output memory-time "$(number .head.memory_time)"
output gain "$(number 'if .head.memory_time > 0 then .head.unsplit_memory_time / .head.memory_time else "" end')"
output memory-time-ratio "$(number '.memory_time_ratio // ""')"
output same-functions "$(number .same)"
output pending-changes "$changes"
output plan "$plan"
output bundle "$bundle"
output summary "$results/summary.md"
output exit-code 0
