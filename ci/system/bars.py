"""What the system of docker-compose.yml must show, one function each. What a function returns is what was measured."""

import contextlib
import socket
import time

from stack import Failure, Load, check, eventually, inspect, request, run

RATE = 300


def entries_come_and_go(stack):
    """Put, get, delete and bulk, conditions, keys with slashes, through nginx."""
    data = f"{stack.http}/data"
    key = "a%2Fb%25%20c%2F%2F..%2Fd"
    put = request("PUT", f"{data}/{key}", b"first", {"Content-Type": "text/plain"})
    check(put.status == 200, f"PUT: {put.status} {put.body}")
    got = request("GET", f"{data}/{key}")
    check(got.json()["value"] == "first" and got.json()["key"] == "a/b% c//../d", f"GET: {got.body}")
    check(len(got.headers["X-Request-Id"]) == 32, f"no request id: {got.headers}")
    check(request("GET", f"{data}/{key}", headers={"If-None-Match": got.headers["ETag"]}).status == 304, "no 304")
    swap = {"If-Match": got.headers["ETag"], "Content-Type": "text/plain"}
    check(request("PUT", f"{data}/{key}", b"second", swap).status == 200, "a swap was refused")
    check(request("PUT", f"{data}/{key}", b"third", swap).status == 412, "a swap of an old version went through")
    check(request("DELETE", f"{data}/{key}").status == 200, "DELETE")
    check(request("GET", f"{data}/{key}").status == 404, "deleted and still there")
    items = [{"key": f"bulk/{number}", "value": {"n": number}} for number in range(100)]
    check(request("POST", f"{data}/bulk", items).status == 200, "POST bulk")
    found = request("POST", f"{data}/bulk/get", [item["key"] for item in items]).json()["found"]
    check({item["key"]: item["value"] for item in found} == {item["key"]: item["value"] for item in items}, "bulk get")
    check(request("PUT", f"{data}/large", b"x" * (33 << 20)).status == 413, "a body of 33 MiB was not refused")
    check(request("GET", f"{stack.http}/metrics").status == 404, "metrics are shown to everybody")


def both_masters_answer_in_turn(stack):
    names = {request("GET", f"{stack.http}/health").json()["name"] for _ in range(8)}
    check(len(names) == 2, f"answers came from {names}")


def the_cache_in_front_obeys_times_to_live(stack):
    for ttl, wanted in (("60", ["MISS", "HIT"]), ("0", ["MISS", "MISS"])):
        request("PUT", f"{stack.http}/data/cached-{ttl}?ttl={ttl}", b"v")
        seen = [request("GET", f"{stack.cached}/data/cached-{ttl}").headers["X-Cache"] for _ in range(2)]
        check(seen == wanted, f"ttl {ttl}: {seen}")
    check(request("PUT", f"{stack.cached}/data/k", b"v").status == 403, "a write went through the cache")


def memcached_clients_are_served(stack):
    with socket.create_connection(("127.0.0.1", stack.memcached), timeout=5) as client:
        lines = client.makefile("rb")
        client.sendall(b"set from-memcached 5 0 5\r\nhello\r\nget from-memcached\r\n")
        answer = [lines.readline().strip() for _ in range(4)]
    check(answer == [b"STORED", b"VALUE from-memcached 5 5", b"hello", b"END"], f"{answer}")
    check(request("GET", f"{stack.http}/data/from-memcached?raw").body == b"hello", "REST does not see it")


def events_are_streamed(stack):
    """The refreshers' datasets, and their events as they come: two within two intervals, through nginx."""
    eventually("the dataset is there", lambda: request("GET", f"{stack.http}/datasets/demo/greeting").status == 200)
    eventually("and in the cache", lambda: request("GET", f"{stack.http}/data/demo%2Fgreeting").status == 200)
    host, port = stack.http.removeprefix("http://").split(":")
    ids = []
    with socket.create_connection((host, int(port)), timeout=15) as client:
        client.sendall(b"GET /datasets/demo/events HTTP/1.1\r\nHost: annulus\r\n\r\n")
        for line in client.makefile("rb"):
            if line.startswith(b"id:"):
                ids.append(int(line[3:]))
            if len(ids) == 2:
                break
    check(ids[0] < ids[1], f"revisions {ids}")


def containers_may_do_nothing_they_need_not(stack):
    """Read-only, another user than root, no capabilities, within limits; and the image is small."""
    for service in ("master", "auxiliary", "refresher"):
        for container in stack.containers(service):
            seen = inspect(container)
            host, config = seen["HostConfig"], seen["Config"]
            check(host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["CapAdd"], f"{service}: {host}")
            check(host["Memory"] > 0 and config["User"] == "65532:65532", f"{service}: {config}")
            status = run("docker", "exec", container, "cat", "/proc/1/status")
            lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            check(lines["Uid"].split()[0] == "65532" and int(lines["CapBnd"], 16) == 0, f"{service}: {lines}")
            check(lines["NoNewPrivs"] == "1", f"{service} may gain privileges")
            with contextlib.suppress(Failure):
                run("docker", "exec", container, "touch", "/usr/local/bin/x")
                raise SystemExit(f"{service} can write to its image")
    image = inspect(f"annulus:{stack.project}")
    base = inspect(next(name for name in run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").split()
                        if name.startswith("debian:")))
    beside = (image["Size"] - base["Size"]) / 1e6
    check(beside < 60, f"the image takes {beside:.1f} MB beside its base")
    return f"image: {beside:.1f} MB beside its base (profile dev, stripped)"


def prometheus_scrapes_every_node(stack):
    wanted = {"annulus-master": 2, "annulus-auxiliary": 3, "annulus-refresher": 2, "prometheus": 1}
    def all_are_up():
        up = {of["metric"]["job"]: int(of["value"][1]) for of in stack.query("count by (job) (up == 1)")}
        return up == wanted and not stack.query("up == 0")
    eventually(f"targets are up: {wanted}", all_are_up)
    check(request("GET", f"{stack.grafana}/api/health").status == 200, "Grafana does not answer")
    return f"{sum(wanted.values())} targets up"


def no_read_fails_when_a_master_is_killed(stack):
    load = Load(stack.http, "master-killed", RATE, keys=1000, read_ratio=1.0)
    time.sleep(2)
    killed = stack.containers("master")[0]
    run("docker", "kill", killed)
    time.sleep(5)
    run("docker", "start", killed)
    eventually("it is well again", lambda: inspect(killed)["State"]["Health"]["Status"] == "healthy")
    time.sleep(1)
    return load.ends_well()


def an_auxiliary_killed_costs_no_request_after_a_second_and_no_key(stack):
    load = Load(stack.http, "auxiliary-killed", RATE)
    time.sleep(2)
    killed = stack.containers("auxiliary")[0]
    at = load.seconds()
    run("docker", "kill", killed)
    # Its lease ends, and the others make up for it.
    stack.settled(2, within=40)
    run("docker", "start", killed)
    stack.settled(3)
    return load.ends_well(errors_in=(at, at + 1))


def scaling_up_and_down_turns_no_hit_into_a_miss(stack):
    load = Load(stack.http, "scaled", RATE)
    began = time.monotonic()
    stack.compose("up", "--detach", "--no-build", "--no-recreate", "--scale", "auxiliary=5")
    stack.settled(5, within=90)
    eventually("Prometheus found them", lambda: stack.query('count(up{job="annulus-auxiliary"} == 1)')[0]["value"][1] == "5", 30)
    up = time.monotonic()
    stack.compose("up", "--detach", "--no-build", "--no-recreate")
    stack.settled(3, within=90)
    down = time.monotonic()
    return f"{load.ends_well()}; to 5 in {up - began:.0f} s, back to 3 in {down - up:.0f} s"


def partitions_are_noticed_by_nobody(stack):
    """First between one master and one auxiliary, then of an auxiliary from all masters and its like. All still reach Redis."""
    load = Load(stack.http, "partition", RATE)
    time.sleep(1)
    network = f"{stack.project}_cache"
    master, cut = stack.containers("master")[0], stack.containers("auxiliary")[1]
    ends = [(master, stack.address(cut, network)), (cut, stack.address(master, network))]
    for container, other in ends:
        stack.cut_off(container, other)
    eventually("that master notices", lambda: stack.states_seen_by(master).count("up") == 2, 10)
    time.sleep(30)
    check(stack.states_seen_by(stack.containers("master")[1]) == ["up"] * 3, "the other master noticed too")
    for container, other in ends:
        stack.let_in(container, other)
    pair = healed(stack)

    cut = stack.containers("auxiliary")[2]
    run("docker", "network", "disconnect", network, cut)
    eventually("masters notice", lambda: any(node["state"] != "up" for node in stack.nodes()["nodes"]), 10)
    time.sleep(8)
    run("docker", "network", "connect", "--alias", "auxiliary", network, cut)
    return f"{load.ends_well()}; healed in {pair:.1f} s and {healed(stack):.1f} s"


def healed(stack):
    """How long it takes until both masters reach all auxiliaries."""
    began = time.monotonic()
    masters = stack.containers("master")
    eventually("healed", lambda: all(stack.states_seen_by(master) == ["up"] * 3 for master in masters), 10)
    stack.settled(3, within=10)
    return time.monotonic() - began


def a_rolling_restart_turns_no_hit_into_a_miss(stack):
    load = Load(stack.http, "rolling", RATE)
    began = time.monotonic()
    for container in stack.containers("auxiliary"):
        run("docker", "restart", "--time", "50", container)
        eventually("it is ready", lambda: run("docker", "exec", container, "annulus", "health", "--ready"))
        stack.settled(3)
    return f"{load.ends_well()}; {(time.monotonic() - began) / 3:.1f} s each"


def locust_is_steered_by_its_page(stack, users=20, requests=300):
    """The profile `load`: started by hand, stopped by hand, and it has found nothing wrong."""
    stack.compose("--profile", "load", "up", "--detach", "--no-build", "--no-recreate", "--wait", "locust")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    started = request("POST", f"{stack.locust}/swarm", f"user_count={users}&spawn_rate={users}".encode(), form)
    check(started.json().get("success"), f"POST /swarm: {started.status} {started.body}")

    def said():
        return request("GET", f"{stack.locust}/stats/requests").json()

    def total():
        return next(of for of in said()["stats"] if of["name"] == "Aggregated")

    eventually(f"{requests} requests", lambda: total()["num_requests"] >= requests)
    check(request("POST", f"{stack.locust}/stop", b"").status == 200, "POST /stop")
    eventually("Locust has stopped", lambda: said()["state"] == "stopped")
    seen, errors = total(), said()["errors"]
    check(not errors and seen["num_failures"] == 0, f"{errors}")
    stack.compose("--profile", "load", "rm", "--stop", "--force", "locust")
    return f"{seen['num_requests']} requests, {seen['num_failures']} failures"


def what_was_stored_is_there_after_all_was_stopped(stack):
    """Also with new containers: what counts is in volumes."""
    keys = [f"kept-{number}" for number in range(500)]
    for number in range(0, 500, 100):
        items = [{"key": key, "value": key} for key in keys[number : number + 100]]
        check(request("POST", f"{stack.http}/data/bulk", items).status == 200, "POST bulk")
    began = time.monotonic()
    stack.compose("down")
    stopped = time.monotonic()
    # Nobody is left to hand over to, and nobody waits for it.
    check(stopped - began < 20, f"down took {stopped - began:.0f} s")
    stack.compose("up", "--detach", "--no-build", "--wait")
    stack.settled(3)
    found = request("POST", f"{stack.http}/data/bulk/get", keys).json()["found"]
    check(len(found) == 500, f"{len(found)} of 500 keys are back")
    return f"500 of 500 keys are back; down in {stopped - began:.0f} s, up in {time.monotonic() - stopped:.0f} s"
