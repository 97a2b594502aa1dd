#!/usr/bin/env bash
# Fuzzes every operation of a running cluster's /openapi.json and checks each answer against that document.
# Usage: ci/fuzz-openapi.sh [BINARY] [EXAMPLES]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/ci/dev-cluster.sh"
binary=$(realpath "${1:-$root/target/debug/annulus}")
examples=${2:-100}
version=4.32.5
venv=$root/.venv

if [[ $("$venv/bin/schemathesis" --version 2>/dev/null) != *" $version" ]]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

start_cluster "$binary"

checks=not_a_server_error,status_code_conformance,content_type_conformance
checks+=,response_headers_conformance,response_schema_conformance
status=0
# What schemathesis keeps beside it goes away with the folder.
cd "$work"
"$venv/bin/schemathesis" --config-file "$root/ci/fuzz-openapi.toml" --no-color run "$url/openapi.json" \
  --checks "$checks" --max-examples "$examples" --warnings off || status=$?

if ! curl --silent --fail "$url/health" >/dev/null; then
  echo "the cluster does not answer any more:" >&2
  cat "$work/dev.err" >&2
  exit 1
fi
exit "$status"
