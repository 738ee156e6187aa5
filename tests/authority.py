"""Certificates for tests, made by openssl."""

import subprocess
from pathlib import Path

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


class Authority:
    """Makes certificates in ``folder``, signed by one of its own."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.ca = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        self._openssl(
            "req", "-x509", "-nodes", *_NEW_KEY, "-keyout", str(self._key), "-out", str(self.ca),
            "-subj", f"/CN={name}", "-days", "3650",
        )  # fmt: skip

    def certificate(self, name: str, days: int) -> Path:
        """A certificate ``name.pem`` and its key ``name.key`` for the machine itself, good for ``days``."""
        made = self.folder / f"{name}.pem"
        request, names = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self._openssl(
            "req", "-new", "-nodes", *_NEW_KEY, "-keyout", str(made.with_suffix(".key")),
            "-out", str(request), "-subj", f"/CN={name}",
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(self._key),
            "-CAcreateserial", "-out", str(made), "-days", str(days), "-extfile", str(names),
        )  # fmt: skip
        return made

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)
