"""A real Keystone for Neutron and its callers, in the stack's PostgreSQL; users and endpoints as a cloud has them."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from stack.process import Process, until
from stack.stack import ENVIRONMENT, free_port

__all__ = ["PASSWORD", "Keystone", "ask"]

PASSWORD = "secret"
REGION = "RegionOne"

_CONF = """\
[DEFAULT]
[database]
connection = {database}
[token]
provider = fernet
[fernet_tokens]
key_repository = {directory}/fernet
[fernet_receipts]
key_repository = {directory}/receipts
[credential]
key_repository = {directory}/credential
"""


def ask(
    method: str, host: str, port: int, path: str, body: object = None, token: str = ""
) -> tuple[Any, dict[str, str]]:
    """The document and the headers of an answer; AssertionError when it is no success."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    headers = {"Content-Type": "application/json", **({"X-Auth-Token": token} if token else {})}
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    assert answer.status < 300, f"{method} {path}: {answer.status} {text[:500]}"
    return (json.loads(text) if text else None), dict(answer.getheaders())


class Keystone:
    """``start`` makes its tables and keys, the administrator, and a user and an endpoint for Neutron."""

    def __init__(self, directory: Path, host: str, database: str) -> None:
        self._directory, self.host, self.port = directory, host, free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / "keystone.conf"
        self._file.write_text(_CONF.format(database=database, directory=directory))
        argv = [str(ENVIRONMENT / "bin/uwsgi"), "--http-socket", f"{host}:{self.port}"]
        argv += ["--module", "keystone.wsgi.api:application", "--processes", "1", "--threads", "4", "--enable-threads"]
        argv += ["--master", "--die-on-term", "--need-app", "--lazy-apps", "--add-header", "Connection: close"]
        argv += ["--buffer-size", "65535", "--pyhome", str(ENVIRONMENT)]
        files = {"OS_KEYSTONE_CONFIG_DIR": f"{directory}/", "OS_KEYSTONE_CONFIG_FILES": "keystone.conf"}
        self.process = Process("keystone", argv, directory / "keystone.log", env=files)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/v3"

    def start(self, neutron_url: str) -> None:
        """Keystone answers when this returns."""
        self._manage("db_sync")
        for what in ("fernet_setup", "credential_setup"):
            self._manage(what, "--keystone-user", "root", "--keystone-group", "root")
        urls = [part for kind in ("admin", "internal", "public") for part in (f"--bootstrap-{kind}-url", self.url)]
        self._manage("bootstrap", "--bootstrap-password", PASSWORD, *urls, "--bootstrap-region-id", REGION)
        self.process.start()
        until("Keystone answers", self._answers, 120, dump=self.process.last_words)
        self._register(neutron_url)

    def token(self) -> str:
        """One of the administrator."""
        user = {"name": "admin", "domain": {"id": "default"}, "password": PASSWORD}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        body = {"auth": {"identity": identity, "scope": scope}}
        return ask("POST", self.host, self.port, "/v3/auth/tokens", body)[1]["X-Subject-Token"]

    def _register(self, neutron_url: str) -> None:
        token = self.token()

        def create(path: str, kind: str, **fields: Any) -> str:
            return str(ask("POST", self.host, self.port, f"/v3/{path}", {kind: fields}, token)[0][kind]["id"])

        roles = ask("GET", self.host, self.port, "/v3/roles", token=token)[0]["roles"]
        known = {role["name"]: role["id"] for role in roles}
        project = create("projects", "project", name="service", domain_id="default")
        user = create("users", "user", name="neutron", password=PASSWORD, domain_id="default")
        for role in ("admin", "service"):
            ask("PUT", self.host, self.port, f"/v3/projects/{project}/users/{user}/roles/{known[role]}", token=token)
        service = create("services", "service", name="neutron", type="network")
        for interface in ("public", "internal", "admin"):
            create(
                "endpoints",
                "endpoint",
                interface=interface,
                url=neutron_url,
                service_id=service,
                region_id=REGION,
            )

    def _answers(self) -> bool:
        assert self.process.running, f"Keystone has ended\n{self.process.last_words()}"
        try:
            ask("GET", self.host, self.port, "/v3")
        except (OSError, AssertionError):
            return False
        return True

    def _manage(self, *arguments: str) -> None:
        argv = [str(ENVIRONMENT / "bin/keystone-manage"), "--config-file", str(self._file), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ))
        assert done.returncode == 0, f"{argv}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
