"""Certificates for clusters, proxies and clients, made on the spot with openssl and keytool: nothing secret is ever kept.

make(directory, addresses) fills a directory once and returns its paths; a second call finds them made.

    ca.pem                     the authority that everybody trusts
    server.pem, server.key     a server's chain and key; it names every loopback address that was asked for
    client.pem, client.key     a client's, for mutual TLS
    server.p12, client.p12     the same with chain and key in one, as Java wants them
    trust.p12                  the authority alone, as Java wants it
"""

import pathlib
import shutil
import subprocess

# Of the PKCS#12 stores; Java does not open one without.
STORE_PASSWORD = "cloudgate"
# Longer than any test, short enough that a stray one is soon worth nothing.
DAYS = "30"


class CertificateError(RuntimeError):
    """A tool is missing or failed; the message says which and what it printed."""


class Certificates:
    """The paths of one directory made by make()."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key", "server.p12", "client.p12", "trust.p12"):
            setattr(self, name.replace(".", "_"), self.directory / name)


def make(directory, addresses):
    """addresses: IP addresses and host names that the server's certificate is valid for. Returns Certificates."""
    made = Certificates(directory)
    wanted = "\n".join(addresses) + "\n"
    complete = made.directory / "addresses"  # written last
    if complete.exists() and complete.read_text() == wanted:
        return made
    made.directory.mkdir(parents=True, exist_ok=True)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", DAYS,
        "-subj", "/O=Cloud-Gate tests/CN=authority", "-keyout", made.directory / "ca.key", "-out", made.ca_pem)
    names = ",".join(("IP:" if address.replace(".", "").isdigit() or ":" in address else "DNS:") + address for address in addresses)
    issue(made, "server", f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    issue(made, "client", "extendedKeyUsage=clientAuth\n")
    # openssl 3.0 cannot mark an authority as trusted in a PKCS#12 store; Java's own tool can.
    made.trust_p12.unlink(missing_ok=True)
    run(keytool(), "-importcert", "-noprompt", "-alias", "authority", "-file", made.ca_pem, "-keystore", made.trust_p12,
        "-storetype", "PKCS12", "-storepass", STORE_PASSWORD)
    complete.write_text(wanted)
    return made


def issue(made, name, extensions):
    """A key, a certificate signed by the authority, and both in a PKCS#12 store."""
    base = made.directory / name
    base.with_suffix(".ext").write_text(extensions)
    # RSA: Cassandra 3.11 and the oldest drivers offer cipher suites for nothing else.
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/O=Cloud-Gate tests/CN={name}",
        "-keyout", base.with_suffix(".key"), "-out", base.with_suffix(".csr"))
    run("openssl", "x509", "-req", "-days", DAYS, "-in", base.with_suffix(".csr"), "-CA", made.ca_pem,
        "-CAkey", made.directory / "ca.key", "-CAcreateserial", "-extfile", base.with_suffix(".ext"), "-out", base.with_suffix(".pem"))
    run("openssl", "pkcs12", "-export", "-name", name, "-in", base.with_suffix(".pem"), "-inkey", base.with_suffix(".key"),
        "-certfile", made.ca_pem, "-passout", f"pass:{STORE_PASSWORD}", "-out", base.with_suffix(".p12"))


def keytool():
    found = sorted(pathlib.Path("/usr/lib/jvm").glob("java-17-openjdk-*/bin/keytool"))
    return str(found[0]) if found else shutil.which("keytool") or "keytool"


def run(*command):
    try:
        result = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise CertificateError(f"{command[0]} is not installed") from error
    if result.returncode != 0:
        raise CertificateError(f"{command[0]} {command[1]} failed:\n{result.stdout}{result.stderr}")
