"""Certificates for TLS between servers, made anew for a test."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import BasicConstraints, CertificateBuilder, DNSName, Name, NameAttribute, SubjectAlternativeName
from cryptography.x509.oid import NameOID


def make_certificate(directory: Path) -> None:
    """A certificate of localhost that vouches for itself, `certificate.pem`, and its `key`, in a new directory."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = Name([NameAttribute(NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    certificate = (
        CertificateBuilder(name, name, key.public_key(), serial_number=1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(SubjectAlternativeName([DNSName("localhost")]), critical=False)
        .add_extension(BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    directory.mkdir()
    (directory / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
