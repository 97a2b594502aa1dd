#!/usr/bin/env python3
"""What can be seen wrong in alerts and dashboards without a Prometheus. Exits with 1 and says what it is."""

import json
import re
import sys

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from stack import ROOT


def alerts():
    """Each alert has a severity, a summary, a runbook that is there, and a test of both kinds."""
    rules = yaml.safe_load((ROOT / "prometheus/rules/alerts.yml").read_text())
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    tests = yaml.safe_load((ROOT / "prometheus/tests/alerts.yml").read_text())["tests"]
    tested = {(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test["alert_rule_test"]}
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/operations.md").read_text(), re.M)
    anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        name = rule["alert"]
        if rule["labels"].get("severity") not in ("info", "warning", "critical") or not rule["annotations"].get("summary"):
            yield f"alert {name}: no severity or no summary"
        file, _, anchor = rule["annotations"].get("runbook", "").partition("#")
        if file != "docs/operations.md" or anchor not in anchors:
            yield f"alert {name}: its runbook is not in docs/operations.md"
        for fires in (True, False):
            if (name, fires) not in tested:
                yield f"alert {name}: no test in which it {'fires' if fires else 'stays silent'}"
    yield from (f"alert {name}: there are two" for name in set(names) if names.count(name) > 1)


def dashboards():
    """Each is the same once Grafana's own types have read and written it, and each panel says what it shows in what unit."""
    register_default_plugins()
    paths = sorted((ROOT / "grafana/dashboards").glob("*.json"))
    if len(paths) < 3:
        yield "there should be three dashboards"
    for path in paths:
        written = json.loads(path.read_text())
        again = json.loads(json.dumps(Dashboard.from_json(written), cls=JSONEncoder))
        if written != again:
            lost = [key for key in written if written.get(key) != again.get(key)]
            yield f"{path.name}: Grafana's types read something else: {lost}"
        for panel in written["panels"]:
            defaults = panel.get("fieldConfig", {}).get("defaults", {})
            if not panel.get("description") or not defaults.get("unit"):
                yield f"{path.name}: {panel['title']}: no description or no unit"


if __name__ == "__main__":
    wrong = [*alerts(), *dashboards()]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(1 if wrong else 0)
