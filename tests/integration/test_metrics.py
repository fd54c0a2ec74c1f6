# SPDX-License-Identifier: Apache-2.0
"""GET /metrics: what a scraper accepts, and numbers that move by what happens."""

import os
import time

import test_cli
from lib import exposition, places, procs, unixhttp
from lib.exposition import value
from lib.session import SPARE_PORT
from lib.tap import test

TYPE = "text/plain; version=0.0.4; charset=utf-8"


def scrape(session):
    """(Content-Type, text)"""
    connection = unixhttp.Connection(session.agent.socket, 600)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200, response.status
        return response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


def metrics(session):
    return exposition.parse(scrape(session)[1])


def moved(before, after, name, **labels):
    return value(after, name, **labels) - value(before, name, **labels)


@test("the exposition keeps every rule of the format", needs=("moat",))
def well_formed(session):
    kind, text = scrape(session)
    assert kind == TYPE, kind
    assert exposition.parse(text)


@test("Prometheus' own parser reads the same families, types and series", needs=("moat",))
def real_parser(session):
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError:
        session.missing("python3-prometheus-client is not installed: make deps-test")
    _, text = scrape(session)
    ours = exposition.parse(text)
    theirs = list(text_string_to_metric_families(text))
    # Their name of a counter is without _total.
    names = {each.name + ("_total" if each.type == "counter" else ""): each for each in theirs}
    assert set(names) == set(ours), set(names) ^ set(ours)
    for name, family in ours.items():
        assert (names[name].type, names[name].documentation) == (family.type, family.help), names[name]
        series = {(each.name, frozenset(each.labels.items())): each.value for each in names[name].samples}
        assert series == {(sample, frozenset(pairs)): number for (sample, pairs), number in family.samples.items()}, name


@test("the strict reader refuses what breaks a rule", needs=())
def reader(_session):
    head = "# HELP x_total x\n# TYPE x_total counter\n"
    histogram = '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 3\nh_sum 1\nh_count 3\n'
    assert exposition.parse(head + 'x_total{a="q\\"\\\\\\n"} 1\n' + histogram)["x_total"].samples == {
        ("x_total", (("a", 'q"\\\n'),)): 1}
    for broken in (head + "x_total 1", head + "x_total 1\n\n", head + "x_total 1\nx_total 2\n", head + "x_total -1\n", head + "y_total 1\n",
                   "x_total 1\n" + head, head + head, "# TYPE x_total counter\n# HELP x_total x\n", head.replace("counter", "gauge"),
                   head + 'x_total{a="b} 1\n', head + 'x_total{a="b",a="c"} 1\n', head + histogram + "x_total 1\n",
                   histogram.replace("2", "4"), histogram.replace("h_count 3", "h_count 2"), histogram.replace('"1"', '"+Inf"')):
        try:
            exposition.parse(broken)
        except AssertionError:
            continue
        raise AssertionError(f"accepted {broken!r}")


@test("mode, hooks and counters are those of /v1/status", needs=("moat",))
def like_status(session):
    status, found = session.api.get("/v1/status"), metrics(session)
    mode = status["enforcement"]["mode"]
    assert value(found, "moat_enforcing") == (mode == "enforce")
    assert {name: value(found, "moat_mode", mode=name) for name in ("off", "audit", "enforce")} == {
        name: float(name == mode) for name in ("off", "audit", "enforce")}
    assert value(found, "moat_build_info", version=status["version"]) == 1
    series = {tuple(dict(pairs).values()) for _, pairs in found["moat_verdicts_total"].samples}
    hooks = places.hooks() + places.hooks("CGROUP")
    assert series == {(hook, surface, verdict) for hook, surface, _ in hooks for verdict in ("allowed", "denied", "would_deny")}
    if mode == "off":
        counts = {dict(pairs)["hook"]: number for (_, pairs), number in found["moat_verdicts_total"].samples.items() if number}
        assert all(hook.startswith("cgroup_") for hook in counts), counts
    total = sum(found["moat_execs_started_total"].samples.values())
    assert total == status["execs"]["started"], (total, status["execs"])


@test("each command moves the counters of its namespace and result, and the histogram, by one", needs=("moat",))
def execs(session):
    actions = [
        ("user", "exited", lambda: session.exec("/bin/sh", "-c", "exit 3")),
        ("user", "signalled", lambda: session.exec("/bin/sh", "-c", "kill -KILL $$")),
        ("user", "timed_out", lambda: session.exec("/bin/sleep", "1000", timeoutMs=100)),
        ("user", "output_limited", lambda: session.exec("/usr/bin/yes", outputLimit=100)),
        ("secure", "exited", lambda: session.exec("/bin/true", env={"TOKEN": "x"})),
    ]
    for namespace, result, action in actions:
        before = metrics(session)
        action()
        after = metrics(session)
        assert moved(before, after, "moat_execs_started_total", namespace=namespace) == 1, (namespace, result)
        for (sample, pairs), number in after["moat_execs_ended_total"].samples.items():
            expected = dict(pairs) == {"namespace": namespace, "result": result}
            assert number - before["moat_execs_ended_total"].samples[sample, pairs] == expected, (namespace, result, pairs)
        assert moved(before, after, "moat_spawn_seconds_count") == 1
        assert 0 < moved(before, after, "moat_spawn_seconds_sum") < 30 * procs.SLACK


@test("a command that cannot be executed is counted as failed, and its time is not", needs=("moat",))
def failed(session):
    before = metrics(session)
    assert session.api.request("POST", "/v1/exec", {"argv": ["/nonexistent"]}).status == 422
    after = metrics(session)
    assert moved(before, after, "moat_execs_failed_total", namespace="user") == 1
    assert moved(before, after, "moat_spawn_seconds_count") == 0
    assert moved(before, after, "moat_api_requests_total", status="4xx") == 1
    assert moved(before, after, "moat_api_requests_total", status="2xx") == 1  # the first of the two scrapes


@test("running commands are a gauge", needs=("moat",))
def running(session):
    before = metrics(session)
    identifier = session.api.start("/bin/sleep", "86470")
    during = metrics(session)
    session.api.kill(identifier)
    procs.wait_until(lambda: session.api.process(identifier)["state"] == "ended", 20, "it has ended")
    assert moved(before, during, "moat_execs_running", namespace="user") == 1
    assert moved(before, metrics(session), "moat_execs_running", namespace="user") == 0


@test("a refused kill is a denial more, of that hook alone", needs=("moat", "lsm"))
def denial(session):
    before = metrics(session)
    result = session.exec("/bin/kill", "-9", str(session.agent.pid), context="shared")
    assert result.exit == 1, result
    after = metrics(session)
    kill = {"hook": "task_kill", "surface": "signals"}
    assert moved(before, after, "moat_verdicts_total", verdict="denied", **kill) == 1
    assert moved(before, after, "moat_verdicts_total", verdict="would_deny", **kill) == 0
    assert value(after, "moat_enforcing") == 1


# Each of many processes tries as often as it can: the limit is the exec's, not the process's.
FLOOD = f"""
import os, socket, time
started = time.monotonic()
for _ in range(40):
    if os.fork() == 0:
        for _ in range(50):
            with socket.socket() as each:
                try:
                    each.bind(("127.0.0.1", {SPARE_PORT}))
                    os._exit(1)
                except OSError:
                    pass
        os._exit(0)
print(sum(os.wait()[1] for _ in range(40)), time.monotonic() - started)
"""


@test("a flood of denials by many processes is refused throughout, recorded 20 times a second, counted whole", needs=("moat", "lsm"), timeout=60)
def folded(session):
    before = metrics(session)
    succeeded, seconds = session.exec(places.PYTHON, "-c", FLOOD, context="shared").out.split()
    after = metrics(session)
    denied = moved(before, after, "moat_verdicts_total", hook="socket_bind", surface="ports", verdict="denied")
    unrecorded = moved(before, after, "moat_unrecorded_denials_total", reason="folded")
    assert succeeded == "0" and denied == 2000, (succeeded, denied)
    assert 2000 - 20 * (float(seconds) + 2) <= unrecorded < 2000, (unrecorded, seconds)


@test("services: which are up, which are ready, and restarts of the one that cannot start", needs=("moat",), timeout=60)
def services(session):
    session.agent.wait_ready("spare", 20)
    # For a moment of each try it has a process, which finds out.
    before = procs.wait_until(lambda: value(found := metrics(session), "moat_service_up", service="broken") == 0 and found, 20, "back-off")
    assert value(before, "moat_service_up", service="spare") == value(before, "moat_service_ready", service="spare") == 1
    assert value(before, "moat_service_ready", service="broken") == 0
    procs.wait_until(lambda: moved(before, metrics(session), "moat_service_restarts_total", service="broken") > 0, 30, "it was started again")
    assert moved(before, metrics(session), "moat_service_restarts_total", service="spare") == 0


@test("contexts, connections, and the agent's own memory and start time", needs=("moat",))
def own(session):
    found = metrics(session)
    assert value(found, "moat_contexts") == len(session.api.get("/v1/contexts")["contexts"])
    assert value(found, "moat_api_connections") >= 1
    with open(f"/proc/{session.agent.pid}/status", encoding="utf-8") as file:
        resident = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))
    assert 0.5 < value(found, "process_resident_memory_bytes") / resident < 2, resident
    with open("/proc/uptime", encoding="ascii") as file:
        booted = time.time() - float(file.read().split()[0])
    started = booted + procs.start_time(session.agent.pid) / os.sysconf("SC_CLK_TCK")
    tolerance = 5 + session.memory["start_seconds"]  # it looks at the clock some time after its start
    assert abs(value(found, "process_start_time_seconds") - started) < tolerance, (started, tolerance)


@test("moat metrics prints them", needs=("moat",))
def command(session):
    done = test_cli.moat(session, "metrics")
    assert done.returncode == 0 and set(exposition.parse(done.stdout)) == set(metrics(session)), done
    assert test_cli.moat(session, "metrics", "--json").returncode == 125
