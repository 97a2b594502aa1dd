#!/usr/bin/env bash
# Loads a running system with the users of locustfile.py, who check what they read. Leaves report.html and CSV files.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
  cat <<'EOF'
Usage: load_test/run_test.sh [OPTIONS]

  --host URL       what to load                              [http://localhost:8081]
  --users N        users at once                             [100]
  --rate N         users that start in a second              [10]
  --time T         how long, such as 60s or 5m               [5m]
  --headless       without the page on http://localhost:8089
  --output DIR     where the report goes                     [load_test/reports/DATE]
  --install        only install Locust
  --help

Exits with 0 if no request failed and no answer was wrong, with 1 otherwise. Needs Python 3 with venv; Locust is
installed into a virtual environment beside this script (or in $LOCUST_VENV).
EOF
}

host=http://localhost:8081 users=100 rate=10 time=5m headless= output= install=
while [ $# -gt 0 ]; do
  case $1 in
    --headless) headless=--headless ;;
    --install) install=yes ;;
    --help | -h) usage; exit 0 ;;
    --host | --users | --rate | --time | --output)
      [ $# -gt 1 ] || { echo "$1 needs a value; see --help" >&2; exit 2; }
      declare "${1#--}=$2"
      shift
      ;;
    *) echo "no such option: $1; see --help" >&2; exit 2 ;;
  esac
  shift
done
output=${output:-$here/reports/$(date +%Y%m%d-%H%M%S)}

venv=${LOCUST_VENV:-$here/.venv}
if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
  echo "installing Locust into $venv" >&2
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
  cp "$here/requirements.txt" "$venv/installed.txt"
fi
[ -z "$install" ] || exit 0

mkdir -p "$output"
arguments=(--locustfile "$here/locustfile.py" --host "$host" --users "$users" --spawn-rate "$rate" --run-time "$time"
  --html "$output/report.html" --csv "$output/report" --exit-code-on-error 1)
if [ -n "$headless" ]; then
  arguments+=(--headless --only-summary)
else
  # The page shows the run, which begins and ends by itself.
  arguments+=(--autostart --autoquit 5)
fi
status=0
"$venv/bin/locust" "${arguments[@]}" || status=$?
echo "report: $output/report.html"
exit "$status"
