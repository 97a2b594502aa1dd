#!/usr/bin/env bash
# Lets clients of memcached as they come from PyPI and Debian use a cluster of two masters.
# Usage: ci/memcached-clients.sh [BINARY]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
binary=$(realpath "${1:-$root/target/debug/annulus}")
venv=$root/.venv/memcached
work=$(mktemp -d)

if ! "$venv/bin/python" -c 'import memcache, pylibmc, pymemcache' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check \
    pymemcache==4.0.0 python-memcached==1.62 pylibmc==1.6.3
fi

# On free ports, and with no setting from the outside.
env -i "$binary" dev --masters 2 --auxiliaries 3 --port-base 0 --no-refresher --set log.level=error \
  >"$work/dev.out" 2>"$work/dev.err" &
cluster=$!
trap 'kill "$cluster" 2>/dev/null || true; wait "$cluster" 2>/dev/null || true; rm -rf "$work"' EXIT

url=
for _ in $(seq 100); do
  url=$(awk '$1 == "master" { print $3; exit }' "$work/dev.out")
  [[ -n $url ]] && curl --silent --fail "$url/ready" >/dev/null && break
  sleep 0.1
done
[[ -n $url ]] || { echo "the cluster did not start:" >&2; cat "$work/dev.err" >&2; exit 1; }

# The ports for memcached, and those of REST, on which masters speak it as well.
mapfile -t addresses < <(awk '$1 == "master" { print $4; sub("http://", "", $3); print $3 }' "$work/dev.out")
"$venv/bin/python" "$root/ci/memcached_clients.py" "$url" "${addresses[@]}"
