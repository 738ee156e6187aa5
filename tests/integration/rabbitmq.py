"""RabbitMQ of Debian with its MQTT plugin, as a child process with folders, ports and a name of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tocsin_hub.demo.broker import free_port, running

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
START_SECONDS = 90.0
_CONFIG = """\
listeners.tcp = none
mqtt.listeners.tcp.default = 127.0.0.1:{port}
mqtt.allow_anonymous = true
mqtt.prefetch = 1000
mqtt.subscription_ttl = 86400000
log.file = false
log.console = true
log.console.level = warning
"""


@contextmanager
def port_mapper(folder: Path) -> Iterator[int]:
    """Erlang's port mapper on a port of its own, without which RabbitMQ starts one that outlives it."""
    port = free_port()
    with running(["epmd", "-port", str(port), "-address", "127.0.0.1"], folder / "epmd.log", port):
        yield port


def rabbitmq_command(folder: Path, port: int, mapper: int) -> list[str]:
    """Command line of a RabbitMQ that speaks MQTT 3.1.1 on ``port``; all that it keeps is in ``folder``.

    ``mapper`` is the port of a :func:`port_mapper`.
    """
    (folder / "rabbitmq.conf").write_text(_CONFIG.format(port=port), encoding="ascii")
    (folder / "plugins").write_text("[rabbitmq_mqtt].\n", encoding="ascii")
    (folder / "rabbitmq-env.conf").touch()
    settings = {
        "HOME": folder,
        "RABBITMQ_CONF_ENV_FILE": folder / "rabbitmq-env.conf",
        "RABBITMQ_CONFIG_FILE": folder / "rabbitmq",
        "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "plugins",
        "RABBITMQ_MNESIA_BASE": folder / "mnesia",
        "RABBITMQ_LOG_BASE": folder / "rabbitmq-log",
        "RABBITMQ_PID_FILE": folder / "rabbitmq.pid",
        "RABBITMQ_NODENAME": f"tocsin-{port}@localhost",
        "RABBITMQ_DIST_PORT": free_port(),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": mapper,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_BYTES": 0,
    }
    return ["env", *(f"{name}={value}" for name, value in settings.items()), SERVER]
