"""Where the archives of the field are: one table, whose addresses the environment or a TOML file replaces by mirrors."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryowalk.core.errors import InputError, UsageError

TOML_VARIABLE = "CRYOWALK_ARCHIVES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An archive: the addresses of its mirrors, tried in this order, and who may see the user's token."""

    name: str
    title: str
    urls: tuple[str, ...]
    token_variable: str = ""
    token_domain: str = ""  # hosts of this domain see the token, too, by https


SITES = {
    site.name: site
    for site in (
        Site(
            name="pdb",
            title="the Protein Data Bank",
            urls=("https://files.wwpdb.org/pub/pdb", "https://ftp.ebi.ac.uk/pub/databases/pdb"),
        ),
        Site(
            name="emdb",
            title="the Electron Microscopy Data Bank",
            urls=("https://ftp.ebi.ac.uk/pub/databases/emdb", "https://files.wwpdb.org/pub/emdb"),
        ),
        Site(name="empiar", title="EMPIAR", urls=("https://ftp.ebi.ac.uk/empiar/world_availability",)),
        Site(
            name="osf",
            title="the Open Science Framework",
            urls=("https://api.osf.io/v2",),
            token_variable="OSF_TOKEN",
            token_domain="osf.io",
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The sites with their mirrors, a proxy (empty: what the environment says) and a file of trusted certificates."""

    sites: Mapping[str, Site]
    proxy: str = ""
    certificates: str = ""

    def site(self, name: str) -> Site:
        """The site of this name.

        Raises
        ------
        UsageError
            If there is none.
        """
        if name not in self.sites:
            raise UsageError(f"there is no archive {name!r}", expected=", ".join(self.sites))
        return self.sites[name]


def user_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder of the user's own configuration, or None where there is no home."""
    base = environment.get("XDG_CONFIG_HOME")
    if base:
        return Path(base) / "cryowalk"
    home = environment.get("HOME")
    return Path(home) / ".config" / "cryowalk" if home else None


def configuration(environment: Mapping[str, str] | None = None) -> Configuration:
    """The table of sites with the mirrors of CRYOWALK_PDB_URL, CRYOWALK_EMDB_URL, … (addresses with blanks between), else of a TOML file.

    The TOML file is that of CRYOWALK_ARCHIVES, else archives.toml in the user's configuration folder: `[emdb]` with `urls = [...]`, and `[network]` with
    `proxy` and `certificates`.

    Raises
    ------
    InputError
        If the TOML file is not there, is no TOML, or says what cannot be meant.
    """
    environment = os.environ if environment is None else environment
    values, path = _toml(environment)
    sites = {}
    for name, site in SITES.items():
        told = environment.get(f"CRYOWALK_{name.upper()}_URL", "").split() or _addresses(values, name, path)
        sites[name] = replace(site, urls=tuple(_checked(url, name) for url in told)) if told else site
    network = values.get("network", {})
    certificates = network.get("certificates") or next(
        (environment[name] for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE") if environment.get(name)), ""
    )
    return Configuration(sites=sites, proxy=str(network.get("proxy", "")), certificates=str(certificates))


def _toml(environment: Mapping[str, str]) -> tuple[dict[str, Any], Path | None]:
    named = environment.get(TOML_VARIABLE)
    folder = user_folder(environment)
    path = Path(named) if named else (folder / "archives.toml" if folder else None)
    if path is None or (not named and not path.is_file()):
        return {}, None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the table of archives cannot be read: {error}", file=path, fix=f"correct {TOML_VARIABLE}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"this is not TOML: {error}", file=path, expected='lines such as [emdb] and urls = ["https://…"]'
        ) from None
    unknown = [name for name in values if name not in SITES and name != "network"]
    if unknown or not all(isinstance(section, dict) for section in values.values()):
        raise InputError(f"there is no archive {(unknown or ['?'])[0]!r}", file=path, expected=", ".join([*SITES, "network"]))
    return values, path


def _addresses(values: Mapping[str, Any], name: str, path: Path | None) -> list[str]:
    urls = values.get(name, {}).get("urls", [])
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise InputError(f"the addresses of {name} are no list of texts", file=path, expected='urls = ["https://…"]')
    return urls


def _checked(url: str, name: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"the address of {name} is none: {url}", expected="https://HOST/PATH")
    if parts.username or parts.password:
        raise UsageError(
            f"the address of {name} holds a user's name or password",
            fix="put tokens into the environment or a credentials file of mode 600, docs/guide/archives.md",
        )
    return url.rstrip("/")
