"""The system of docker-compose.yml as a program sees it: containers to stop, ports to talk to, load to make."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = TARGET / "debug/annulus"
# Where what a person may want to look at is kept.
OUTPUT = TARGET / "system"

PORTS = ("HTTP_PORT", "CACHED_PORT", "MEMCACHED_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT", "LOCUST_PORT")

# Of those that anybody may choose.
NOBODY = "02:00:00:00:00:01"


class Failure(Exception):
    """The system does not do what it should."""


def check(holds, text):
    if not holds:
        raise Failure(text)


def run(*command, timeout=300, **options):
    """What the command printed; a failure says all of it."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout, **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def eventually(what, condition, within=60.0, every=0.1):
    """Waits until the condition gives something true, and returns that. A failure of it counts as not yet."""
    end = time.monotonic() + within
    while True:
        trouble = ""
        try:
            if got := condition():
                return got
        except (Failure, OSError, ValueError, KeyError) as error:
            trouble = f": {error}"
        if time.monotonic() > end:
            raise Failure(f"not within {within:.0f} s: {what}{trouble}")
        time.sleep(every)


def free_ports(count):
    """Ports that nothing uses. All are held until all are known."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def request(method, url, body=None, headers=None, timeout=5.0):
    """An answer of any status; a JSON body where `body` is no bytes."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    asked = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=timeout) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


class Stack:
    """One project of compose, with ports of its own."""

    def __init__(self, compose):
        self.command = [str(compose), "--file", str(ROOT / "docker-compose.yml"), "--project-directory", str(ROOT)]
        self.project = f"annulus-ci-{os.getpid()}"
        ports = dict(zip(PORTS, map(str, free_ports(len(PORTS)))))
        self.environment = {
            **os.environ,
            **ports,
            "COMPOSE_PROJECT_NAME": self.project,
            "ANNULUS_TAG": self.project,
            "PROFILE": "dev",
            "DOCKER_BUILDKIT": "0",
        }
        self.http = f"http://127.0.0.1:{ports['HTTP_PORT']}"
        self.cached = f"http://127.0.0.1:{ports['CACHED_PORT']}"
        self.prometheus = f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}"
        self.grafana = f"http://127.0.0.1:{ports['GRAFANA_PORT']}"
        self.locust = f"http://127.0.0.1:{ports['LOCUST_PORT']}"
        self.memcached = int(ports["MEMCACHED_PORT"])

    def compose(self, *arguments, timeout=300):
        return run(*self.command, *arguments, timeout=timeout, env=self.environment, cwd=ROOT)

    def start(self):
        """As the README says it."""
        self.compose("up", "--detach", "--build", "--wait", timeout=900)

    def containers(self, service):
        """Ids of those that run, in the order of their numbers."""
        listed = run(
            "docker", "ps", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}",
            "--filter", f"label=com.docker.compose.service={service}",
        ).split()
        return sorted(listed, key=lambda name: int(inspect(name)["Config"]["Labels"]["com.docker.compose.container-number"]))

    def nodes(self):
        return request("GET", f"{self.http}/nodes").json()

    def states_seen_by(self, master):
        """Of the auxiliaries, by one master's word."""
        seen = json.loads(run("docker", "exec", master, "annulus", "nodes", "--json"))
        return [node["state"] for node in seen["nodes"]]

    def address(self, container, network):
        return inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"]

    def cut_off(self, container, address):
        """Lets what a container sends to an address go astray in silence: to a hardware address that nobody has."""
        device = self.inside(container, "ip", "-oneline", "route", "get", address).split(" dev ")[1].split()[0]
        self.inside(container, "ip", "neighbour", "replace", address, "lladdr", NOBODY, "nud", "permanent", "dev", device)

    def let_in(self, container, address):
        device = self.inside(container, "ip", "-oneline", "route", "get", address).split(" dev ")[1].split()[0]
        self.inside(container, "ip", "neighbour", "delete", address, "dev", device)

    def inside(self, container, *command):
        """Runs a program of this machine in the network of a container."""
        return run("nsenter", "--target", inspect(container)["State"]["Pid"], "--net", *command)

    def is_settled(self, count):
        """Whether so many auxiliaries are members, answer, and hold what they should, by two masters' word."""
        def holds():
            nodes = self.nodes()
            states = [(node["state"], node["member"]) for node in nodes["nodes"]]
            return nodes["settled"] and states == [("up", "member")] * count
        # Round robin: the next answer is another master's.
        return holds() and holds()

    def settled(self, count, within=60.0):
        eventually(f"{count} auxiliaries hold what they should", lambda: self.is_settled(count), within)

    def query(self, expression):
        url = f"{self.prometheus}/api/v1/query?query={urllib.parse.quote(expression)}"
        return request("GET", url).json()["data"]["result"]

    def logs(self):
        with contextlib.suppress(Failure, subprocess.TimeoutExpired):
            (OUTPUT / "containers.log").write_text(self.compose("logs", "--no-color", "--timestamps"))

    def remove(self):
        """Containers, networks and volumes."""
        with contextlib.suppress(Failure, subprocess.TimeoutExpired):
            self.compose("--profile", "load", "kill")
        self.compose("--profile", "load", "down", "--volumes", "--remove-orphans", "--timeout", "1")
        with contextlib.suppress(Failure):
            run("docker", "image", "rm", f"annulus:{self.project}")


def inspect(name):
    return json.loads(run("docker", "inspect", name))[0]


class Load:
    """`annulus bench` with --verify, until it is stopped. Its keys are all stored before the constructor returns."""

    def __init__(self, url, name, rate=300, keys=2000, read_ratio=0.9, interface="raw"):
        self.name = name
        self.report = OUTPUT / f"{name}.json"
        command = [
            BINARY, "bench", "--url", url, "--rate", rate, "--duration", "10m", "--keys", keys, "--key-prefix", f"{name}-",
            "--value-size", "100-1000", "--read-ratio", read_ratio, "--interface", interface, "--distribution", "uniform",
            "--connections", 16, "--preload", "--verify", "--warm-up", "0s", "--timeout", "4s", "--quiet", "--json",
        ]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ANNULUS_")}
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean
        )
        stored = [f"{url}/data/{name}-{key:012}" for key in range(keys - 16, keys)]
        eventually(f"{name}: all keys are stored", lambda: self.has(stored), within=30)
        self.started = time.monotonic()

    def has(self, urls):
        if self.process.poll() is not None:
            raise SystemExit(f"the load {self.name} ended by itself: {self.process.stderr.read()}")
        return all(request("GET", url).status == 200 for url in urls)

    def seconds(self):
        """Since all keys are there, about when its measuring began."""
        return time.monotonic() - self.started

    def ends(self):
        """Its report, kept besides."""
        self.process.send_signal(signal.SIGINT)
        try:
            out, error = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure(f"the load {self.name} does not end") from None
        check(out.strip().startswith("{"), f"the load {self.name} gave no report: {error}")
        self.report.write_text(out)
        return json.loads(out)

    def ends_well(self, errors_in=None, slowest=1.5):
        """No error, nothing old or damaged, no miss of what was stored, nothing slower than a deadline and a moment."""
        report = self.ends()
        found = report["verification"]
        totals = report["totals"]
        said = f"{self.name}: {totals['requests']} requests, {totals['errors']} errors {report['errors']}, {found}"
        check(totals["requests"] > 100, f"hardly any load: {said}")
        check(found["stale"] == 0 and found["corrupt"] == 0, said)
        check(found["misses_of_written_keys"] == 0, said)
        late = totals["errors"]
        if errors_in:
            # A second of grace on both sides, for the series counts whole seconds from another start.
            first, last = errors_in
            late = sum(of["errors"] for of in report["series"] if not first - 1 <= of["second"] <= last + 1)
        check(late == 0, f"{said} {report['error_messages']}")
        worst = max(operation["max_us"] for operation in report["latency"]) / 1e6
        check(worst <= slowest, f"{said}: the slowest took {worst} s")
        return f"{totals['requests']} requests, {totals['errors']} errors, no wrong answer, slowest {worst * 1000:.0f} ms"

