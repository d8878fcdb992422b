"""Authorities and the certificates they sign, made on the spot with openssl: good ones, run-out ones, ones for other names."""

import subprocess


def openssl(*words):
    result = subprocess.run(["openssl", *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"openssl {words[0]}: {result.stderr}"
    return result.stdout


class Pair:
    """The two files of a certificate."""

    def __init__(self, cert, key):
        self.cert, self.key = cert, key


class Authority:
    """A certificate authority with its files in a directory of its own; ca is the file to trust."""

    def __init__(self, directory, name="authority"):
        self.directory = directory / name
        self.directory.mkdir(parents=True)
        self.ca = self.directory / "ca.pem"
        self.key = self.directory / "ca.key"
        (self.directory / "index.txt").touch()
        self.config = self.directory / "ca.cnf"
        self.config.write_text(
            f"[ca]\ndefault_ca = here\n[here]\ndatabase = {self.directory}/index.txt\nnew_certs_dir = {self.directory}\n"
            "rand_serial = yes\ndefault_md = sha256\npolicy = any\nunique_subject = no\n[any]\nCN = supplied\n"
        )
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 60, "-subj", f"/CN={name}",
                "-keyout", self.key, "-out", self.ca)  # fmt: skip

    def issue(self, name, *names, start=None, end=None, days=60):
        """A certificate for these IP addresses and host names. start, end: YYYYMMDDHHMMSSZ instead of days from now."""
        base = self.directory / name
        pair = Pair(base.with_suffix(".pem"), base.with_suffix(".key"))
        extensions = base.with_suffix(".ext")
        listed = ",".join(("IP:" if word.replace(".", "").isdigit() or ":" in word else "DNS:") + word for word in names)
        extensions.write_text("extendedKeyUsage=serverAuth,clientAuth\n" + (f"subjectAltName={listed}\n" if names else ""))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", pair.key,
                "-out", base.with_suffix(".csr"))  # fmt: skip
        when = ["-startdate", start, "-enddate", end] if end else ["-days", days]
        openssl("ca", "-batch", "-notext", "-config", self.config, "-cert", self.ca, "-keyfile", self.key, "-in",
                base.with_suffix(".csr"), "-out", pair.cert, "-extfile", extensions, *when)  # fmt: skip
        return pair

    def expired(self, name, *names):
        return self.issue(name, *names, start="20200101000000Z", end="20210101000000Z")
