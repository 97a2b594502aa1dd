#!/usr/bin/env python3
"""Starts docker-compose.yml, lets it show what bars.py asks of it, looks at its dashboards, and removes it again.

Usage: run.py COMPOSE [NAME...]: only the bars whose names contain one of these.
"""

import os
import signal
import subprocess
import sys
import time

import bars
import dashboards
from stack import OUTPUT, ROOT, TARGET, Failure, Stack

BARS = [
    bars.entries_come_and_go,
    bars.both_masters_answer_in_turn,
    bars.the_cache_in_front_obeys_times_to_live,
    bars.memcached_clients_are_served,
    bars.events_are_streamed,
    bars.containers_may_do_nothing_they_need_not,
    bars.prometheus_scrapes_every_node,
    bars.no_read_fails_when_a_master_is_killed,
    bars.an_auxiliary_killed_costs_no_request_after_a_second_and_no_key,
    bars.scaling_up_and_down_turns_no_hit_into_a_miss,
    bars.partitions_are_noticed_by_nobody,
    bars.a_rolling_restart_turns_no_hit_into_a_miss,
    bars.what_was_stored_is_there_after_all_was_stopped,
    bars.locust_is_steered_by_its_page,
]


def locust_finds_nothing_wrong(stack):
    """The command that docs/operations.md gives, with its users and time."""
    command = ["load_test/run_test.sh", "--headless", "--users", "200", "--rate", "20", "--time", "60s"]
    command += ["--host", stack.http, "--output", str(OUTPUT / "locust")]
    environment = {**os.environ, "LOCUST_VENV": str(TARGET / "locust-venv")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    (OUTPUT / "locust.log").write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        raise Failure(f"Locust ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
    total = next(line for line in done.stderr.splitlines() + done.stdout.splitlines() if "Aggregated" in line)
    return " ".join(total.split())


def show(name, action, *arguments):
    began = time.monotonic()
    said = action(*arguments)
    print(f"   {name.replace('_', ' ')}: {said or 'yes'} ({time.monotonic() - began:.0f} s)", flush=True)


def main():
    compose, *wanted = sys.argv[1:]
    # So that everything is removed however this ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    stack = Stack(compose)
    actions = [*BARS, locust_finds_nothing_wrong, dashboards.every_query_has_an_answer]
    chosen = [action for action in actions if not wanted or any(part in action.__name__ for part in wanted)]
    try:
        show("docker compose up --build --wait", stack.start)
        for action in chosen:
            show(action.__name__, action, stack)
    except Failure as failure:
        stack.logs()
        print(f"FAILED: {failure}\nwhat the containers said: {OUTPUT / 'containers.log'}", file=sys.stderr)
        return 1
    finally:
        stack.remove()
    print(f"{len(chosen)} bars held; reports and drawings: {OUTPUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
