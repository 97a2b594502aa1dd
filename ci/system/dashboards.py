"""Every query of dashboards, rules and alerts, asked of the Prometheus of the running system; and drawings of the panels."""

import json
import re
import time
import urllib.parse

from stack import OUTPUT, ROOT, check, request

# What has no series while nothing is wrong, or before anything happened.
EMPTY_WHERE_ALL_IS_WELL = ("Answers that are none",)
WINDOW_S = 600
STEP_S = 5


def panels():
    for path in sorted((ROOT / "grafana/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            yield path.stem, board, panel


def expressions(panel):
    for target in panel["targets"]:
        yield target["expr"].replace("$node", ".*"), target["legendFormat"]


def metrics_of(text):
    return set(re.findall(r"\b(?:annulus|process)_[a-z0-9_]+\b", text))


def every_query_has_an_answer(stack):
    """Names that Prometheus does not know, and queries without data, are mistakes."""
    known = set(request("GET", f"{stack.prometheus}/api/v1/label/__name__/values").json()["data"])
    asked = 0
    for board, _, panel in panels():
        where = f"{board}: {panel['title']}"
        for expression, _ in expressions(panel):
            unknown = metrics_of(expression) - known - {"annulus_node_info"}
            check(not unknown, f"{where}: no such metric: {unknown}")
            result = over_time(stack, expression)
            check(result or panel["title"] in EMPTY_WHERE_ALL_IS_WELL, f"{where}: no data: {expression}")
            asked += 1
    rules = request("GET", f"{stack.prometheus}/api/v1/rules").json()["data"]["groups"]
    for rule in (rule for group in rules for rule in group["rules"]):
        check(rule["health"] == "ok", f"{rule['name']}: {rule.get('lastError')}")
        unknown = metrics_of(rule["query"]) - known
        check(not unknown, f"{rule['name']}: no such metric: {unknown}")
        if rule["type"] == "alerting":
            check(over_time(stack, compared(rule["query"])), f"{rule['name']}: nothing to compare")
        else:
            check(over_time(stack, rule["query"]), f"{rule['name']}: no data")
        asked += 1
    draw(stack)
    return f"{asked} queries"


def compared(query):
    """What an alert compares first: it has data whether the alert fires or not."""
    query = query.removeprefix("absent(")
    depth = 0
    for position, character in enumerate(query):
        depth += (character in "({[") - (character in ")}]")
        if depth == 0 and re.match(r" (>|<|==) ", query[position : position + 4]):
            return query[:position]
    return query


def over_time(stack, expression):
    now = time.time()
    question = urllib.parse.urlencode({"query": expression, "start": now - WINDOW_S, "end": now, "step": STEP_S})
    answer = request("GET", f"{stack.prometheus}/api/v1/query_range?{question}").json()
    check(answer["status"] == "success", f"{expression}: {answer.get('error')}")
    return answer["data"]["result"]


def draw(stack):
    """One PNG a dashboard, laid out as Grafana would: a drawing, for Grafana itself is not here."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    boards = {}
    for name, board, panel in panels():
        boards.setdefault(name, (board, []))[1].append(panel)
    for name, (board, shown) in boards.items():
        height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown)
        figure = pyplot.figure(figsize=(20, height * 0.42 + 0.6), dpi=70)
        figure.suptitle(f"{board['title']}: a drawing of its queries' data, not Grafana", fontsize=13, x=0.01, ha="left")
        for panel in shown:
            draw_panel(stack, figure, panel, height)
        figure.savefig(OUTPUT / f"dashboard-{name}.png")
        pyplot.close(figure)


def draw_panel(stack, figure, panel, height):
    at = panel["gridPos"]
    top = 1 - 0.6 / (height * 0.42 + 0.6)
    box = [at["x"] / 24 + 0.025, top * (1 - (at["y"] + at["h"]) / height) + 0.022, at["w"] / 24 - 0.035,
           top * at["h"] / height - 0.042]
    series = [
        (re.sub(r"\{\{(\w+)\}\}", lambda label: of["metric"].get(label[1], ""), legend), of["values"])
        for expression, legend in expressions(panel)
        for of in over_time(stack, expression)
    ]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes = figure.add_axes(box)
    axes.set_title(f"{panel['title']} [{unit}]", fontsize=8, loc="left")
    if panel["type"] == "stat":
        axes.axis("off")
        last = "  ".join(f"{label}: {float(values[-1][1]):.4g}" for label, values in series)
        axes.text(0.02, 0.4, last or "no data", fontsize=12)
        return
    now = time.time()
    for label, values in series:
        axes.plot([float(at) - now for at, _ in values], [float(value) for _, value in values], label=label, linewidth=1)
    defaults = panel["fieldConfig"]["defaults"]
    axes.set_ylim(bottom=defaults.get("min"), top=defaults.get("max"))
    axes.tick_params(labelsize=6)
    axes.grid(alpha=0.3)
    if series:
        axes.legend(fontsize=5, loc="upper left", ncols=2)
    else:
        axes.text(0.4, 0.5, "no data", transform=axes.transAxes)
