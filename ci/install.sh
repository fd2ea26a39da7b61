#!/usr/bin/env bash
# Puts `tranche` in place for a pipeline and says where: a release by checksum, a build
# from source, or a program that is there already. All input comes by environment:
#
#   INPUT_FROM      release (default), source, or the path of a tranche program
#   INPUT_VERSION   the release, as 0.1.0
#   INPUT_SHA256    SHA-256 of the archive; without it the release's own SHA256SUMS counts,
#                   which shows a broken download but not a changed release
#   INPUT_RELEASES  where releases lie: archives and SHA256SUMS below a folder named vVERSION
#   INPUT_PREFIX    where to install [default: $RUNNER_TEMP/tranche, else ~/.local]
#   INPUT_SOURCE    the repository, for `source` [default: that of this script]
#
# Prints the folder of the program; appends it to $GITHUB_PATH where there is one.
set -euo pipefail

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

from=${INPUT_FROM:-release}
prefix=${INPUT_PREFIX:-${RUNNER_TEMP:+$RUNNER_TEMP/tranche}}
prefix=${prefix:-$HOME/.local}

# Only HTTPS, but for a folder of this machine.
download() {
    case $1 in
        https://* | file://*) curl --fail --silent --show-error --location --proto '=https,file' --proto-redir '=https' --retry 3 --connect-timeout 20 --max-time 600 --output "$2" "$1" ;;
        *) fail "$1 is neither https:// nor file://" ;;
    esac
}

release() {
    local version=${INPUT_VERSION:?INPUT_VERSION names no release, as 0.1.0} machine name sum folder
    version=${version#v}
    [[ $version =~ ^[0-9A-Za-z.+-]+$ ]] || fail "$version is no version"
    machine=$(uname -m)
    [ "$(uname -s)" = Linux ] || fail "releases are for Linux; install from source"
    name="tranche-$version-$machine-unknown-linux-gnu"
    folder=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$folder'" EXIT
    local base=${INPUT_RELEASES:?INPUT_RELEASES names no place of releases}/v$version
    download "$base/$name.tar.gz" "$folder/$name.tar.gz"
    if [ -n "${INPUT_SHA256:-}" ]; then
        sum=$INPUT_SHA256
    else
        download "$base/SHA256SUMS" "$folder/SHA256SUMS"
        sum=$(awk -v name="$name.tar.gz" '$2 == name { print $1 }' "$folder/SHA256SUMS")
        [ -n "$sum" ] || fail "SHA256SUMS of $version has no $name.tar.gz"
    fi
    (cd "$folder" && printf '%s  %s\n' "$sum" "$name.tar.gz" | sha256sum --check --strict --quiet >&2) ||
        fail "$name.tar.gz is not the archive with SHA-256 $sum"
    mkdir -p "$prefix"
    tar --extract --gzip --no-same-owner --file "$folder/$name.tar.gz" --strip-components=1 --directory "$prefix"
}

source_build() {
    local source=${INPUT_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
    (cd "$source" && cargo build --release --locked --package tranche >&2)
    mkdir -p "$prefix/bin"
    install -m 0755 "${CARGO_TARGET_DIR:-$source/target}/release/tranche" "$prefix/bin/tranche"
}

case $from in
    release) release ;;
    source) source_build ;;
    *)
        [ -x "$from" ] || fail "$from is no program"
        mkdir -p "$prefix/bin"
        install -m 0755 "$from" "$prefix/bin/tranche"
        ;;
esac

"$prefix/bin/tranche" --version >&2
if [ -n "${GITHUB_PATH:-}" ]; then
    printf '%s\n' "$prefix/bin" >>"$GITHUB_PATH"
fi
printf '%s\n' "$prefix/bin"
