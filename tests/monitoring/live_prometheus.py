# SPDX-License-Identifier: Apache-2.0
"""Processes and HTTP for prometheus_test.py: every wait has a deadline and every process ends."""
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request


def find_prometheus():
    """Of PIKV_PROMETHEUS, else of PATH; None where there is none."""
    named = os.environ.get("PIKV_PROMETHEUS")
    return shutil.which(named) if named else shutil.which("prometheus")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(url, data=None, timeout=5):
    """The status and body of a request; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=timeout) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, ValueError) as error:
        return 0, str(error)


def wait_for(what, seconds, check, every=0.5):
    """The first true value of `check`; raises with `what` when it does not come in time."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds} s: {what}")
        time.sleep(every)


class Program:
    """A child process with its output in a file."""

    def __init__(self, log, *command, cwd=None):
        self.log = log
        with open(log, "wb") as out:
            self.child = subprocess.Popen(command, stdout=out, stderr=out, cwd=cwd)

    def text(self):
        return self.log.read_text(errors="replace")

    def alive(self):
        return self.child.poll() is None

    def end(self, how=signal.SIGTERM, seconds=20):
        """Its exit code; killed when it does not end in time, which is an error."""
        if self.alive():
            self.child.send_signal(how)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"did not end within {seconds} s:\n{self.text()[-2000:]}") from None


class Prometheus:
    def __init__(self, program, folder, ports, rules):
        self.port = free_port()
        folder.mkdir()
        (folder / "rules.yml").write_text(rules)
        targets = ", ".join(f'"127.0.0.1:{x}"' for x in ports)
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            "rule_files: [rules.yml]\n"
            f"scrape_configs: [{{job_name: pikv, static_configs: [{{targets: [{targets}]}}]}}]\n")
        self.program = Program(folder / "log", program, f"--config.file={folder}/prometheus.yml",
                               f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{self.port}",
                               cwd=folder)
        wait_for("Prometheus is not ready:\n" + self.program.text(), 30,
                 lambda: ask(f"http://127.0.0.1:{self.port}/-/ready")[0] == 200)

    def query(self, expr):
        """The result of an instant query; raises when Prometheus refuses it."""
        status, body = ask(f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": expr}))
        if status != 200:
            raise AssertionError(f"Prometheus answers {status} to {expr}: {body}")
        return json.loads(body)["data"]["result"]

    def shows(self, expr, instance):
        """Whether there is something to draw for an instance: a value that is a number."""
        return any(x["value"][1] != "NaN" and x["metric"].get("instance", instance) == instance
                   for x in self.query(expr))

    def firing(self):
        return {(x["metric"]["alertname"], x["metric"].get("instance")) for x in self.query('ALERTS{alertstate="firing"}')}
