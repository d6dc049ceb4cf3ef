"""An authority of one's own for calls over TLS: `python -m deploy.certificates DIRECTORY`.

For a laptop, for Compose, for trying it on a cluster; an install that lasts has cert-manager or the
like. The directory gets `services/` and `workers/` with a certificate each, and `authority/`, whose
key signs them. Run again, it signs new ones with the same authority.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kit import files
from kit.settings import SERVICES
from kit.tls import AUTHORITY, CERTIFICATE, KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

VALID_DAYS = 90
"""Days for which services and workers get a certificate."""

_AUTHORITY_DAYS = 3650
_READABLE = 0o644
_CLOCK_SKEW = timedelta(hours=1)
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Authority:
    """Signs certificates; `certificate` is what those believe who are to believe them."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Self:
        """Return one that nobody believes yet."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("elodrome authority")
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        draft = (
            _draft(name, name, key.public_key(), timedelta(days=_AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
        )
        return cls(key, draft.sign(key, hashes.SHA256()))

    @classmethod
    def kept(cls, directory: Path) -> Self:
        """Return the one of a directory, made now where there is none."""
        certificate, key = directory / AUTHORITY, directory / KEY
        if not key.exists():
            made = cls.new()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.replace(key, _pem(made.key))
            files.replace(certificate, made.pem, mode=_READABLE)
        found = serialization.load_pem_private_key(key.read_bytes(), password=None)
        if not isinstance(found, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key}: is of another kind than are made here")  # noqa: TRY004
        return cls(found, x509.load_pem_x509_certificate(certificate.read_bytes()))

    @property
    def pem(self) -> bytes:
        """The certificate as a file holds it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, common_name: str, *hosts: str, valid: timedelta = timedelta(days=VALID_DAYS)
    ) -> dict[str, bytes]:
        """Return a new key and its certificate, by the names of the files they are kept in.

        `hosts` are the names and addresses at which its owner serves. Without any it may only call.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if hosts:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        draft = _draft(
            _name(common_name), self.certificate.subject, key.public_key(), valid
        ).add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_host(each) for each in hosts])
            draft = draft.add_extension(names, critical=False)
        certificate = draft.sign(self.key, hashes.SHA256())
        return {
            KEY: _pem(key),
            CERTIFICATE: certificate.public_bytes(serialization.Encoding.PEM),
            AUTHORITY: self.pem,
        }


def write(directory: Path, *, namespace: str = "elodrome") -> None:
    """Write certificates of services and of workers, signed by the authority of the directory.

    Services are known by their names on a laptop, in Compose, and in a release `elodrome` of the
    chart. Only the owner can enter the directory; the files in it, but for the authority's key, are
    readable by all, as they are mounted into containers that run as other users.
    """
    # The home of an install may be among those that are yet to be made.
    for place in (*reversed(directory.parents), directory):
        place.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)
    authority = Authority.kept(directory / "authority")
    save(directory / "services", authority.issue("elodrome services", *_hosts(namespace)))
    save(directory / "workers", authority.issue("elodrome workers"))


def save(directory: Path, contents: dict[str, bytes]) -> None:
    """Write the files of a certificate; whoever reads them meanwhile sees some that fit no more."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        files.replace(directory / name, content, mode=_READABLE)


def _hosts(namespace: str) -> Iterator[str]:
    yield from _HERE
    for service in SERVICES:
        yield service
        yield f"elodrome-{service}.{namespace}.svc"


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + valid) - _CLOCK_SKEW)
        .not_valid_after(now + valid)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def main() -> None:
    """Write the certificates, and say where they are to be named."""
    parser = argparse.ArgumentParser(prog="deploy.certificates", description=__doc__)
    parser.add_argument("directory", type=Path, help="it may be there already")
    parser.add_argument("--namespace", default="elodrome", help="of the release")
    chosen = parser.parse_args()
    try:
        write(chosen.directory, namespace=chosen.namespace)
    except (OSError, ValueError) as error:
        sys.exit(f"certificates: {error}")
    print(f"ELODROME_TLS_DIR={chosen.directory.resolve() / 'services'}")
    print(f"ELODROME_WORKER_TLS_DIR={chosen.directory.resolve() / 'workers'}")


if __name__ == "__main__":
    main()
