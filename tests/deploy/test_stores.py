"""PostgreSQL, Redis and RabbitMQ as the playbooks install them, all on one machine; the hub is on another.

The tests stand in the order in which they happen, and each begins where the one before it ended.
"""

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.deploy.containers import SUITE, Machine, wait_until
from tests.deploy.site import PASSPHRASE, TOOLS, SiteOfContainers
from tocsin_hub.demo.broker import free_port

pytestmark = [pytest.mark.deploy, pytest.mark.slow, pytest.mark.timeout(600)]
PARTS = ("--tags", "broker,db,redis", "--limit", "stores")


class Stores(SiteOfContainers):
    """One machine with all three; hub and nodes are names for it here, which no role is run for."""

    def __init__(self, folder: Path) -> None:
        wheels = folder / "wheels"
        wheels.mkdir()
        (wheels / "tocsin-0-py3-none-any.whl").touch()
        super().__init__(folder, wheels)
        self.machine = Machine(folder, "tocsin-stores")
        self.postgresql, self.redis = free_port(), free_port()
        self.epmd, self.command = free_port(), free_port()

    @property
    def machines(self) -> tuple[Machine, ...]:
        return (self.machine,)

    def start(self) -> None:
        self.machine.make()
        self.machine.boot()
        self.write_inventory(
            postgresql_port=self.postgresql,
            redis_port=self.redis,
            rabbitmq_epmd_port=self.epmd,
            rabbitmq_command_port=self.command,
            # Containers share this machine's name servers and no names of each other.
            ansible_host="127.0.0.1",
        )

    def _hosts(self) -> dict[str, Any]:
        inside = {
            "ansible_connection": "community.docker.nsenter",
            "ansible_become": False,
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_nsenter_pid": self.machine.leader,
        }
        here = {"ansible_connection": "local", "ansible_python_interpreter": str(TOOLS / "python")}
        alone: dict[str, Any] = {"hosts": {"stores": {}}}
        return {
            "all": {
                "hosts": {
                    "localhost": here,
                    **dict.fromkeys(("stores", "tocsin", "press-1", "paint-1"), inside),
                },
                "children": {
                    **dict.fromkeys(("db", "redis", "rabbitmq"), alone),
                    "hub": {"hosts": {"tocsin": {}}},
                    "nodes": {"hosts": {"press-1": {}, "paint-1": {}}},
                },
            }
        }

    @property
    def ca(self) -> Path:
        """What vouches for all of them."""
        return self.inventory / "pki/ca.crt"

    def secret(self, name: str) -> str:
        """A password that was made beside the inventory."""
        return (self.inventory / "secrets" / name).read_text(encoding="ascii").strip()

    def certify(self, name: str, file: str) -> None:
        """A certificate of the site, noted as the role ``pki`` notes those that it signs."""
        key, wish, made = (self.folder / f"{name}.{ending}" for ending in ("key", "csr", "crt"))
        subject = ["-subj", f"/O=Tocsin/CN={name}", "-nodes", "-keyout", str(key), "-out", str(wish)]
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *subject)
        signer = ["-CA", str(self.ca), "-CAkey", str(self.inventory / "pki/ca.key"), "-CAcreateserial"]
        _openssl(
            "x509", "-req", "-in", str(wish), *signer, "-passin", f"pass:{PASSPHRASE}", "-out", str(made)
        )
        shutil.copy(made, self.inventory / f"pki/issued/{file}-{name}.crt")

    def psql(self, question: str, **wrong: str) -> "subprocess.CompletedProcess[str]":
        """Ask the database as the hub does, but for what is ``wrong``."""
        place = {
            "host": "127.0.0.1",
            "port": str(self.postgresql),
            "user": "tocsin",
            "dbname": "tocsin",
            "password": self.secret("postgresql"),
            "sslmode": "verify-full",
            "channel_binding": "disable",
            "sslrootcert": str(self.ca),
        } | wrong
        words = " ".join(f"{key}='{value}'" for key, value in place.items())
        return self.run("psql", "-w", "-X", "-A", "-t", "-c", question, words)

    def ask_redis(self, *command: str, password: str | None = None, tls: bool = True) -> str:
        """What Redis answers."""
        certain = ["--tls", "--cacert", "/etc/tocsin/pki/ca.crt"] if tls else []
        name = self.secret("redis") if password is None else password
        login = ["-a", name, "--no-auth-warning"] if name else []
        place = ["-h", "127.0.0.1", "-p", str(self.redis)]
        done = self.machine.run("redis-cli", *place, *certain, *login, *command, check=False)
        return (done.stdout + done.stderr).strip()

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """In the machine, with the site's CA where it is there."""
        told = [word.replace(str(self.ca), "/etc/tocsin/pki/ca.crt") for word in command]
        return self.machine.run(*told, check=False)


def _openssl(*command: str) -> None:
    subprocess.run(["openssl", *command], check=True, capture_output=True, timeout=30)


class Speaker:
    """A client of the broker with the certificate of ``name``; what it hears, and whether it was cut off."""

    def __init__(self, stores: Stores, name: str, client: str = "", will: str = "") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.reason = ""
        self.granted = self.taken = 0
        self.cut_off = False
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client or name,
            clean_session=False,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        context = ssl.create_default_context(cafile=stores.ca)
        context.load_cert_chain(stores.folder / f"{name}.crt", stores.folder / f"{name}.key")
        self._client.tls_set_context(context)
        if will:
            self._client.will_set(will, b"will", qos=1)
        self._client.on_connect = lambda _c, _d, _f, reason, _p: setattr(self, "reason", str(reason))
        self._client.on_disconnect = lambda *_: setattr(self, "cut_off", True)
        self._client.on_subscribe = lambda *_: setattr(self, "granted", self.granted + 1)
        self._client.on_publish = lambda *_: setattr(self, "taken", self.taken + 1)
        self._client.on_message = lambda _c, _d, message: self.heard.append(
            (message.topic, bytes(message.payload))
        )
        self._client.connect("127.0.0.1", stores.broker_port, 10)
        self._client.loop_start()
        wait_until(lambda: bool(self.reason) or self.cut_off, 30.0, f"an answer to {name}")

    def hear(self, topic: str) -> bool:
        """Subscribe; whether the broker grants it."""
        before = self.granted
        self._client.subscribe(topic, 1)
        wait_until(lambda: self.granted > before or self.cut_off, 30.0, f"a word on {topic}")
        return self.granted > before and not self.cut_off

    def say(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publish, and wait for the broker's word or for the end of the connection."""
        before = self.taken
        self._client.publish(topic, payload, 1, retain)
        wait_until(lambda: self.taken > before or self.cut_off, 30.0, f"a word on {topic}")

    def drop(self) -> None:
        """Break the connection without a word."""
        opened = self._client.socket()
        assert opened is not None
        opened.close()
        self.close()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """The machine, with everything on it."""
    made = Stores(tmp_path_factory.mktemp("stores"))
    try:
        made.start()
        played = made.play("site.yml", *PARTS)
        assert played.status == 0, played.text
        for name in ("hub", "press-1", "paint-1", "stranger"):
            made.certify(name, "hub" if name == "hub" else "node")
        yield made
    finally:
        made.stop()
        shutil.rmtree(made.machine.root, ignore_errors=True)


@pytest.mark.parametrize("name", ["postgresql", "redis"])
def test_passwords_are_made_for_nobody_else(stores: Stores, name: str) -> None:
    assert len(stores.secret(name)) == 40
    assert (stores.inventory / "secrets" / name).stat().st_mode & 0o077 == 0


def test_the_hub_has_a_database_that_keeps_what_it_was_told(stores: Stores) -> None:
    """As the role that owns it, with the certificate checked; in order of bytes, on the disk at COMMIT."""
    assert (
        stores.psql("create table if not exists kept (word text); insert into kept values ('방')").returncode
        == 0
    )
    found = stores.psql(
        "select datcollate, pg_encoding_to_char(encoding), current_setting('synchronous_commit'), "
        "current_setting('fsync'), (select ssl from pg_stat_ssl where pid = pg_backend_pid()), "
        "(select rolsuper or rolcreatedb or rolcreaterole from pg_roles where rolname = current_user), "
        "(select word from kept limit 1) from pg_database where datname = current_database()"
    )
    assert found.stdout.strip() == "C|UTF8|on|on|t|f|방", found.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "guessed"}, "password authentication failed"),  # pragma: allowlist secret
        ({"password": ""}, "no password supplied"),
        ({"sslmode": "disable"}, "no encryption"),
        ({"dbname": "postgres"}, "no pg_hba.conf entry"),
        ({"user": "postgres"}, "no pg_hba.conf entry"),
    ],
    ids=["password", "none", "plain", "database", "postgres"],
)
def test_the_database_refuses_everybody_else(stores: Stores, wrong: dict[str, str], said: str) -> None:
    done = stores.psql("select 1", **wrong)
    assert done.returncode != 0
    assert said in done.stderr


def test_a_copy_of_the_database_can_be_read_and_old_ones_go(stores: Stores) -> None:
    folder = stores.machine.root / "var/backups/tocsin"
    stores.machine.run(
        "runuser", "-u", "postgres", "--", "touch", "-d", "2020-01-01", "/var/backups/tocsin/tocsin-1.dump"
    )
    stores.machine.run("systemctl", "start", "tocsin-pg-dump.service")
    copies = [path.name for path in folder.iterdir()]
    assert len(copies) == 1, copies
    told = stores.machine.run("pg_restore", "--file=-", f"/var/backups/tocsin/{copies[0]}").stdout
    assert "방" in told
    assert "tocsin-pg-dump.timer" in stores.machine.run("systemctl", "list-timers", "--no-pager").stdout


def test_redis_passes_on_and_counts_for_whoever_has_the_password(stores: Stores) -> None:
    assert stores.ask_redis("PING") == "PONG"
    assert stores.ask_redis("PUBLISH", "flask-socketio", "word") == "0"
    assert stores.ask_redis("EVAL", "return redis.call('INCRBY', KEYS[1], 1)", "1", "LIMITS:one") == "1"
    assert stores.ask_redis("EXPIRE", "LIMITS:one", "60") == "1"


@pytest.mark.parametrize(
    ("command", "said"),
    [(["PING"], "NOAUTH"), (["GET", "LIMITS:one"], "NOAUTH")],
    ids=["ping", "get"],
)
def test_redis_refuses_whoever_has_no_password(stores: Stores, command: list[str], said: str) -> None:
    assert said in stores.ask_redis(*command, password="")
    assert "WRONGPASS" in stores.ask_redis(*command, password="guessed")  # noqa: S106  # pragma: allowlist secret
    assert "PONG" not in stores.ask_redis("PING", tls=False)


@pytest.mark.parametrize("command", [["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["SHUTDOWN"]])
def test_redis_lets_nobody_at_the_server_itself(stores: Stores, command: list[str]) -> None:
    assert "NOPERM" in stores.ask_redis(*command)


def topic(node: str, rest: str) -> str:
    return f"tocsin/v1/n/{node}/{rest}"


def test_a_node_is_heard_below_its_own_name_alone(stores: Stores) -> None:
    hub, press = Speaker(stores, "hub"), Speaker(stores, "press-1")
    for kind in ("conn", "ev/+", "hb"):
        assert hub.hear(topic("+", kind))
    assert press.hear(topic("press-1", "ack"))
    assert press.hear("tocsin/v1/hub/state")
    press.say(topic("press-1", "ev/siren"), b"heard")
    hub.say(topic("press-1", "ack"), b"stored")
    hub.say("tocsin/v1/hub/state", b"online", retain=True)
    wait_until(lambda: len(press.heard) == 2, 30.0, "the hub's words")
    press.say(topic("paint-1", "ev/siren"), b"forged")
    assert press.cut_off
    forger = Speaker(stores, "press-1", will=topic("paint-1", "conn"))
    forger.drop()
    paint = Speaker(stores, "paint-1", will=topic("paint-1", "conn"))
    paint.drop()
    wait_until(lambda: (topic("paint-1", "conn"), b"will") in hub.heard, 30.0, "the last will of paint-1")
    assert hub.heard == [(topic("press-1", "ev/siren"), b"heard"), (topic("paint-1", "conn"), b"will")]
    hub.close()


def test_a_node_hears_nothing_of_others(stores: Stores) -> None:
    for wanted in (topic("paint-1", "ack"), topic("+", "ev/+"), "tocsin/#", "#"):
        assert not Speaker(stores, "press-1").hear(wanted), wanted


def test_a_node_cannot_take_anothers_session(stores: Stores) -> None:
    thief = Speaker(stores, "press-1", client="paint-1")
    assert thief.reason != "Success" or not thief.hear(topic("press-1", "ack"))


def test_a_session_keeps_what_came_while_it_was_away(stores: Stores) -> None:
    press = Speaker(stores, "press-1")
    assert press.hear(topic("press-1", "ack"))
    press.close()
    hub = Speaker(stores, "hub")
    hub.say(topic("press-1", "ack"), b"meanwhile")
    hub.close()
    stores.machine.run("systemctl", "restart", "rabbitmq-server")
    again = Speaker(stores, "press-1")
    wait_until(lambda: (topic("press-1", "ack"), b"meanwhile") in again.heard, 30.0, "what was kept")
    again.close()


def test_the_broker_lets_no_stranger_in(stores: Stores) -> None:
    """A certificate of the site is not enough; there is no guest, and nothing listens without TLS."""
    assert Speaker(stores, "stranger").reason != "Success"
    users = json.loads(stores.machine.run("rabbitmqctl", "-q", "list_users", "--formatter", "json").stdout)
    assert {user["user"] for user in users} == {"hub", "press-1", "paint-1"}
    listening = stores.machine.run("rabbitmq-diagnostics", "-q", "listeners").stdout
    assert set(re.findall(r"port: (\d+), protocol: ([^,]+),", listening)) == {
        (str(stores.command), "clustering"),
        (str(stores.broker_port), "mqtt/ssl"),
    }
    with (
        pytest.raises(ssl.SSLError),
        ssl.create_default_context(cafile=stores.ca).wrap_socket(
            _socket(stores.broker_port), server_hostname="127.0.0.1"
        ) as bare,
    ):
        bare.recv(1)  # with TLS 1.3, a missing certificate is said after the handshake


def _socket(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10)


POSTGRESQL = {"bookworm": "postgresql@15-main", "trixie": "postgresql@17-main"}[SUITE]


@pytest.mark.parametrize("unit", [POSTGRESQL, "redis-server", "rabbitmq-server"])
def test_services_are_exposed_little(stores: Stores, unit: str) -> None:
    told = stores.machine.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert found, told
    assert float(found[1]) <= 2.0


def test_a_retired_node_is_cut_off_and_refused(stores: Stores) -> None:
    press = Speaker(stores, "press-1")
    assert press.reason == "Success"
    played = stores.play("node_retire.yml", "-e", "node=press-1", "--limit", "stores")
    assert played.status == 0, played.text
    wait_until(lambda: press.cut_off, 30.0, "the end of its connection")
    assert Speaker(stores, "press-1").reason != "Success"
    assert Speaker(stores, "paint-1").reason == "Success"


def test_the_second_run_changes_nothing(stores: Stores) -> None:
    """Nor does it give a retired node its rights back."""
    played = stores.play("site.yml", *PARTS)
    assert played.status == 0, played.text
    assert played.changed == {"stores": 0}, played.text
    assert Speaker(stores, "press-1").reason != "Success"
