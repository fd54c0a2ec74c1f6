# SPDX-License-Identifier: Apache-2.0
"""Reads one Debian suite with apt, beside the system's own configuration: nothing is installed, no system state changes.

The mirror and its keyring are those that the system's sources name, so proxies, mirrors and credentials keep working.
Signatures are always verified.
"""

import functools
import glob
import os
import re
import subprocess
import tempfile

from cache import Failure

ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")


def one_line_entries(text):
    for line in text.splitlines():
        match = ONE_LINE.match(line.split("#")[0].strip())
        if match:
            options = dict(o.split("=", 1) for o in (match["options"] or "").split() if "=" in o)
            yield {"uri": match["uri"], "suites": [match["suite"]], "components": match["components"].split(),
                   "signed-by": options.get("signed-by", "")}


def deb822_fields(stanza):
    fields, name = {}, None
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and name:
            fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def deb822_entries(text):
    for stanza in re.split(r"\n\s*\n", text):
        fields = deb822_fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            yield {"uri": uri, "suites": fields.get("suites", "").split(),
                   "components": fields.get("components", "").split(), "signed-by": fields.get("signed-by", "")}


def system_entries(etc="/etc/apt"):
    for path in [f"{etc}/sources.list"] + sorted(glob.glob(f"{etc}/sources.list.d/*")):
        if not os.path.isfile(path) or not path.endswith((".list", ".sources")):
            continue
        with open(path, encoding="utf-8") as file:
            text = file.read()
        yield from one_line_entries(text) if path.endswith(".list") else deb822_entries(text)


def codename():
    with open("/etc/os-release", encoding="utf-8") as file:
        match = re.search(r'^VERSION_CODENAME="?([^"\n]+)', file.read(), re.M)
    return match.group(1) if match else "stable"


def mirror():
    """The archive that holds the system's own suite: (uri, signed-by)."""
    if os.environ.get("MOAT_DEBIAN_MIRROR"):
        return os.environ["MOAT_DEBIAN_MIRROR"], "/usr/share/keyrings/debian-archive-keyring.gpg"
    own = {codename(), "stable", "testing", "unstable", "sid"}
    for entry in system_entries():
        if own & set(entry["suites"]) and "main" in entry["components"]:
            return entry["uri"], entry["signed-by"]
    raise Failure("no Debian archive among apt's sources; name one with MOAT_DEBIAN_MIRROR=URI "
                  "(and install debian-archive-keyring)")


class Suite:
    """One suite's index, kept below a directory of its own."""

    def __init__(self, name, directory):
        self.name, self.directory = name, os.path.join(directory, name)
        for sub in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(self.directory, sub), exist_ok=True)
        for sub in ("status", "none"):
            open(os.path.join(self.directory, sub), "w", encoding="utf-8").close()
        self.write_sources()
        self.run(["apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any"], "reading its index")

    def write_sources(self):
        uri, key = mirror()
        if key.startswith("-----") or "\n" in key:
            path = os.path.join(self.directory, "key.asc")
            with open(path, "w", encoding="utf-8") as file:
                # A deb822 file writes an empty line inside a field as a dot.
                file.write("\n".join("" if line == "." else line for line in key.strip().splitlines()) + "\n")
            key = path
        signed = f" signed-by={','.join(key.split())}" if key else ""
        with open(os.path.join(self.directory, "sources.list"), "w", encoding="utf-8") as file:
            file.write(f"deb [arch=amd64{signed}] {uri} {self.name} main\n")

    def run(self, command, doing, cwd=None):
        settings = {
            "Dir::Etc::sourcelist": f"{self.directory}/sources.list", "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": f"{self.directory}/none", "Dir::Etc::preferencesparts": "-",
            "Dir::State": self.directory, "Dir::State::Lists": f"{self.directory}/lists",
            "Dir::State::status": f"{self.directory}/status", "Dir::Cache": f"{self.directory}/cache",
            "APT::Architecture": "amd64", "APT::Architectures": "amd64", "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        if os.geteuid() == 0:
            # apt's own user cannot write below root's home.
            settings["APT::Sandbox::User"] = "root"
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        result = subprocess.run(command[:1] + options + command[1:], cwd=cwd, text=True, check=False,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if result.returncode:
            raise Failure(f"Debian suite {self.name}: {doing} failed\n{result.stderr.strip()}\n{self.advice(result.stderr)}")
        return result.stdout

    def advice(self, text):
        if "NO_PUBKEY" in text or "not signed" in text:
            return ("The keyring that apt's sources name does not know this suite's key yet. Next: "
                    "apt-get update && apt-get install --only-upgrade debian-archive-keyring")
        return "Next: check the network and that the mirror in apt's sources is reachable (apt-get update), then run vmtest/fetch again"

    def releases(self, package, pattern):
        """The releases (what uname -r prints) for which the package exists, oldest first."""
        before, after = package.split("{release}")
        names = self.run(["apt-cache", "pkgnames", before], "listing packages").split()
        wanted = re.compile(re.escape(before) + f"({pattern})" + re.escape(after))
        found = [match.group(1) for match in map(wanted.fullmatch, names) if match]
        return sorted(found, key=functools.cmp_to_key(compare_versions))

    def version(self, package):
        match = re.search(r"^Version: (\S+)$", self.run(["apt-cache", "show", "--no-all-versions", package],
                                                        f"looking up {package}"), re.M)
        if not match:
            raise Failure(f"Debian suite {self.name} has no package {package}")
        return match.group(1)

    def unpack(self, packages, directory):
        """Downloads the packages, none of their dependencies, and unpacks them into one tree. Returns their versions."""
        versions = {package: self.version(package) for package in packages}
        debs = tempfile.mkdtemp(dir=self.directory)
        self.run(["apt-get", "download", "-qq"] + [f"{p}={v}" for p, v in versions.items()], "downloading", cwd=debs)
        for deb in sorted(os.listdir(debs)):
            subprocess.run(["dpkg", "-x", os.path.join(debs, deb), directory], check=True)
            os.unlink(os.path.join(debs, deb))
        os.rmdir(debs)
        return versions


def compare_versions(a, b):
    if a == b:
        return 0
    return -1 if subprocess.run(["dpkg", "--compare-versions", a, "lt", b], check=False).returncode == 0 else 1
