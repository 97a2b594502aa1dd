#!/usr/bin/env bash
# Lets clients of memcached as they come from PyPI and Debian use a cluster of two masters.
# Usage: ci/memcached-clients.sh [BINARY]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/ci/dev-cluster.sh"
binary=$(realpath "${1:-$root/target/debug/annulus}")
venv=$root/.venv/memcached

if ! "$venv/bin/python" -c 'import memcache, pylibmc, pymemcache' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check \
    pymemcache==4.0.0 python-memcached==1.62 pylibmc==1.6.3
fi

start_cluster "$binary" --no-refresher

# The ports for memcached, and those of REST, on which masters speak it as well.
mapfile -t addresses < <(awk '$1 == "master" { print $4; sub("http://", "", $3); print $3 }' "$work/dev.out")
"$venv/bin/python" "$root/ci/memcached_clients.py" "$url" "${addresses[@]}"
