# To be sourced: a cluster in one process that ends with the script.

# Starts two masters and three auxiliaries on free ports, with no setting from the outside. Sets `url` to the first master's
# and `work` to a folder that goes away at the end; what the cluster printed is in its dev.out and dev.err.
start_cluster() { # BINARY [OPTION...]
  local binary=$1
  shift
  work=$(mktemp -d)
  env -i "$binary" dev --masters 2 --auxiliaries 3 --port-base 0 --set log.level=error "$@" >"$work/dev.out" 2>"$work/dev.err" &
  cluster=$!
  trap 'kill "$cluster" 2>/dev/null || true; wait "$cluster" 2>/dev/null || true; rm -rf "$work"' EXIT
  url=
  for _ in $(seq 100); do
    url=$(awk '$1 == "master" { print $3; exit }' "$work/dev.out")
    [[ -n $url ]] && curl --silent --fail "$url/ready" >/dev/null && return
    sleep 0.1
  done
  echo "the cluster did not start:" >&2
  cat "$work/dev.err" >&2
  exit 1
}
