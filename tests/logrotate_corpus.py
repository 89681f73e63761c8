"""Collect the /etc/logrotate.d files of Debian packages, which we may read but not redistribute.

python3 tests/logrotate_corpus.py DIRECTORY          about two dozen well-known packages
python3 tests/logrotate_corpus.py --all DIRECTORY    all that apt-file knows (100 MB)
"""

from __future__ import annotations

import argparse
import concurrent.futures
import io
import pathlib
import re
import subprocess
import tarfile
import tempfile

_KNOWN = """
apt dpkg rsyslog nginx-common apache2 munin-node fail2ban logrotate ulogd2 ppp ufw haproxy squid
mosquitto memcached redis-server tor chrony corosync cups-daemon samba-common vsftpd proftpd-core
icinga2-common exim4-base lighttpd monit php8.2-fpm
"""
_LARGEST = 2_500_000


def packages() -> list[str]:
    """Every package with a file in /etc/logrotate.d that is not too large."""
    listed = subprocess.run(
        ["apt-file", "search", "-l", "-x", "^/etc/logrotate.d/.+"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    shown = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *listed],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    sizes = {}
    for entry in shown.split("\n\n"):
        name, size = (
            re.search(r"^Package: (.*)$", entry, re.M),
            re.search(r"^Size: (\d+)$", entry, re.M),
        )
        if name and size:
            sizes[name[1]] = int(size[1])
    return sorted(name for name in set(listed) if sizes.get(name, _LARGEST + 1) <= _LARGEST)


def download(names: list[str], where: pathlib.Path) -> None:
    known = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *names],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    there = set(re.findall(r"^Package: (.*)$", known, re.M))
    subprocess.run(
        [
            "apt-get",
            "download",
            "-qq",
            "-o",
            "APT::Sandbox::User=root",
            *(n for n in names if n in there),
        ],
        cwd=where,
        check=False,
        capture_output=True,
    )


def files_of(package: pathlib.Path) -> list[tuple[str, bytes]]:
    tar = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=False
    )
    found = []
    with tarfile.open(fileobj=io.BytesIO(tar.stdout)) as archive:
        for member in archive:
            name = member.name[1:] if member.name.startswith("./") else "/" + member.name
            if member.isfile() and name.startswith("/etc/logrotate.d/") and name.count("/") == 3:
                content = archive.extractfile(member)
                assert content is not None
                found.append((name.rpartition("/")[2], content.read()))
    return found


def collect(where: pathlib.Path, every: bool = False) -> int:
    """The number of files that lie in `where` afterwards."""
    where.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        download(packages() if every else _KNOWN.split(), pathlib.Path(scratch))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for package, files in zip(
                debs := sorted(pathlib.Path(scratch).glob("*.deb")), pool.map(files_of, debs)
            ):
                for name, content in files:
                    (where / f"{package.name.partition('_')[0]}+{name}").write_bytes(content)
    return len(list(where.iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("directory", type=pathlib.Path)
    args = parser.parse_args()
    print(f"{collect(args.directory, args.all)} files in {args.directory}")


if __name__ == "__main__":
    main()
