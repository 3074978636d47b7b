"""The files that docs/deploy.md gives to copy: each is well formed, and what it runs and asks is what there is."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import Cli
from serving import address, get, stop

DOCS = Path(__file__).resolve().parents[2] / "docs"
FILES = {
    name: text
    for _, name, text in re.findall(
        r"^```(ini|dockerfile|yaml)\n# (\S+)\n(.*?)^```$", (DOCS / "deploy.md").read_text(), re.M | re.S
    )
}
UNIT = FILES["/etc/systemd/system/qengine-worker@.service"]
KNOWN = {
    "services": {"build", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "init", "ports", "restart"}
    | {"stop_grace_period", "volumes"},
    "Dockerfile": {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "STOPSIGNAL", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"},
}


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def grace(arguments: list[str]) -> float:
    return float(arguments[arguments.index("--grace") + 1])


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in FILES["Dockerfile"].splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def instruction(name: str) -> str:
    """The last of a kind."""
    return [rest for word, rest in instructions() if word == name][-1]


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILES[name])
    return found


def commands() -> dict[str, list[str]]:
    """Every command line of a worker in these files."""
    entrypoint = json.loads(instruction("ENTRYPOINT"))
    pod = yaml.safe_load(FILES["worker.yml"])["spec"]["template"]["spec"]["containers"][0]
    (exec_start,) = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    return {
        "systemd": ["qengine", *shlex.split(exec_start.replace("%i", "1"))[1:]],
        "docker": [*entrypoint, *json.loads(instruction("CMD"))],
        "compose": [*entrypoint, *compose("compose.yml")["services"]["worker"]["command"]],
        "compose.sqlite": [*entrypoint, *compose("compose.sqlite.yml")["services"]["worker"]["command"]],
        "kubernetes": [*entrypoint, *pod["args"]],
    }


def test_every_file_is_looked_at() -> None:
    assert len(re.findall(r"^```\w+$", (DOCS / "deploy.md").read_text(), re.MULTILINE)) == len(FILES) == 6


@pytest.mark.parametrize("where", list(commands()))
def test_the_command_is_one_that_runs(where: str, cli: Cli) -> None:
    command = commands()[where]
    assert command[:3] == ["qengine", "worker", "app:engine"]
    options = [re.sub(r"^([\d.]+:)\d+$", r"\g<1>0", option) for option in command[3:]]
    cli("worker", "app:engine", *options, "--once")


@pytest.mark.parametrize("where", list(commands()))
def test_there_is_more_time_to_stop_than_the_grace(where: str) -> None:
    has = {
        "systemd": lambda: int(re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)[0]),
        "docker": lambda: int(re.findall(r"docker run --stop-timeout (\d+)", (DOCS / "deploy.md").read_text())[0]),
        "compose": lambda: seconds(compose("compose.yml")["services"]["worker"]["stop_grace_period"]),
        "compose.sqlite": lambda: seconds(compose("compose.sqlite.yml")["services"]["worker"]["stop_grace_period"]),
        "kubernetes": lambda: yaml.safe_load(FILES["worker.yml"])["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
    }[where]()
    assert has >= grace(commands()[where]) + 15


def test_the_unit_is_well_formed() -> None:
    unit = configparser.RawConfigParser(strict=True, delimiters=("=",), comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT)
    assert unit.sections() == ["Unit", "Service", "Install"]
    assert (unit["Service"]["KillMode"], unit["Service"]["Restart"]) == ("mixed", "always")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    there = {"/srv/app/venv/bin/qengine": "/bin/true", "User=app": "User=root", "Group=app": "Group=root"}
    text = UNIT
    for ours, here in there.items():
        assert ours in text
        text = text.replace(ours, here)
    path = tmp_path / "qengine-worker@.service"
    path.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    path.write_text(text.replace("KillMode=", "KillsMode="))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert "KillsMode" in done.stderr, "it tells of nothing"


def test_the_dockerfile() -> None:
    assert {word for word, _ in instructions()} == KNOWN["Dockerfile"]
    assert instruction("USER") == "app", "it does not run as root"
    assert json.loads(instruction("ENTRYPOINT"))[0] == "qengine", "in the list form, which needs no shell"
    stages = [rest for word, rest in instructions() if word == "FROM"]
    assert len(stages) == 2
    assert all(re.match(r"python:3\.1[1-9]-slim\b", stage) for stage in stages)
    port = instruction("EXPOSE")
    assert f"0.0.0.0:{port}" in json.loads(instruction("ENTRYPOINT"))
    assert f"127.0.0.1:{port}/healthz" in instruction("HEALTHCHECK")


def test_the_health_check_of_the_dockerfile(cli: Cli) -> None:
    _, _, check = instruction("HEALTHCHECK").partition("CMD ")
    process = cli.start("worker", "app:engine", "--health", "0")
    where = address(process, "health")
    script = json.loads(check)[2].replace("127.0.0.1:9464", where)
    assert json.loads(check)[:2] == ["python", "-c"]
    assert script.count(where) == 1
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
    stop(process)
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60, stderr=subprocess.DEVNULL).returncode != 0


@pytest.mark.parametrize("name", ["compose.yml", "compose.sqlite.yml"])
def test_the_compose_files(name: str) -> None:
    found = compose(name)
    assert set(found) == {"services", "volumes"}
    for service in found["services"].values():
        assert set(service) <= KNOWN["services"]
        assert ("image" in service) != ("build" in service)
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            assert target.startswith("/")
            assert source.startswith("./") or source in found["volumes"]
        for other in service.get("depends_on", {}):
            assert "healthcheck" in found["services"][other]
    url = found["services"]["worker"]["environment"]["QENGINE_URL"]
    assert re.match(r"postgresql://app@db/app$|sqlite:////data/app\.db$", url)


def test_the_pod_asks_what_the_worker_answers(cli: Cli) -> None:
    (pod,) = yaml.safe_load(FILES["worker.yml"])["spec"]["template"]["spec"]["containers"]
    (port,) = pod["ports"]
    assert f"0.0.0.0:{port['containerPort']}" in commands()["kubernetes"]
    process = cli.start("worker", "app:engine", "--health", "0")
    where = address(process, "health")
    for probe in (pod["livenessProbe"], pod["readinessProbe"]):
        assert probe["httpGet"]["port"] == port["name"]
        assert probe["timeoutSeconds"] > 5, "the worker itself gives up after five seconds, and says why"
        assert get(where, probe["httpGet"]["path"]).status in (200, 503)
    stop(process)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not installed")
def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(FILES["prometheus.yml"])
    shutil.copy(DOCS / "monitoring" / "alerts.yml", tmp_path)
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
