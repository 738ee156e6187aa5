"""What an administrator's own tools say of the playbooks."""

import subprocess

import pytest

from tests.deploy.site import ANSIBLE, TOOLS, ansible_environment

pytestmark = [pytest.mark.deploy, pytest.mark.slow, pytest.mark.timeout(600)]


def test_ansible_lint_finds_nothing_in_its_strictest_profile() -> None:
    command = [str(TOOLS / "ansible-lint"), "--offline", "--profile", "production", "-q"]
    done = subprocess.run(
        command, cwd=ANSIBLE, env=ansible_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
