"""The command line that the conformance suite is given does what the suite asks of it."""

from pathlib import Path

from tests.node.update.server import Mischief, serving
from tests.shared.trust.site import Site
from tests.tufconf.client import main
from tocsin_shared.trust.bundles import target_path

NAME = target_path("sentry", "1.0.0", "float16")


def test_init_refresh_and_download_end_with_0_and_what_is_refused_with_1(tmp_path: Path) -> None:
    """A real repository, then one whose file was changed."""
    site = Site(tmp_path / "repository")
    site.publish({"manifest.json": b"{}"})
    client = ["--metadata-dir", str(tmp_path / "client")]
    assert main([*client, "init", str(site.repository.metadata / "1.root.json")]) == 0
    with serving(tmp_path / "repository") as server:
        web = [*client, "--metadata-url", f"{server.url}/metadata/"]
        assert main([*web, "refresh"]) == 0
        target = ["--target-dir", str(tmp_path / "got"), "--target-base-url", f"{server.url}/targets/"]
        assert main([*web, "--target-name", NAME, *target, "download"]) == 0
        (got,) = (tmp_path / "got").iterdir()
        assert got.stat().st_size > 1000
        assert main([*web, "--target-name", "models/sentry/9.9.9-float16.tar", *target, "download"]) == 1
        got.unlink()
        server.mischief = Mischief(change=lambda content: b"x" + content[1:])
        assert main([*web, "--target-name", NAME, *target, "download"]) == 1
        assert not got.exists()
        server.mischief = Mischief(about="timestamp.json", status=404)
        assert main([*web, "refresh"]) == 1
