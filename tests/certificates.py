"""Certificates made when a test needs them, by openssl."""

import subprocess
from pathlib import Path

from services import program


def make_certificate(folder: Path, name: str, *, names: str = "", signer: str = "") -> None:
    """Make `name.pem` and `name.key`: an authority of its own, or signed by the authority `signer`."""
    command: list[str | Path] = [program("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"]
    command += ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
    if signer:
        command += ["-CA", folder / f"{signer}.pem", "-CAkey", folder / f"{signer}.key"]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    if names:
        command += ["-addext", f"subjectAltName={names}"]
    subprocess.run(command, check=True, capture_output=True)
