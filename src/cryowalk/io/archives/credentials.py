"""The user's token for an archive: from the environment, or from a netrc-like file that nobody else can read. Never shown, never logged."""

import netrc
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cryowalk.core.errors import InputError, SafetyRefusal
from cryowalk.io.archives.sites import Site, user_folder

FILE_VARIABLE = "CRYOWALK_CREDENTIALS"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Token:
    """A secret that no text holds by accident: printing it, or an object with it, shows dots."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "Token(…)"

    def header(self) -> str:
        """What the Authorization header of a request says."""
        return f"Bearer {self._secret}"


def find_token(site: Site, environment: Mapping[str, str] | None = None) -> Token | None:
    """The token for a site: that of its variable in the environment, else the password for its host in the credentials file; None without one.

    Raises
    ------
    SafetyRefusal
        If others than the user can read or change the credentials file.
    InputError
        If that file is not in the form of a netrc file, or the token holds what no header can hold.
    """
    environment = os.environ if environment is None else environment
    if not site.token_variable:
        return None
    told = environment.get(site.token_variable, "").strip()
    path = credentials_file(environment)
    if told:
        return _token(told, f"${site.token_variable}")
    if path is None:
        return None
    require_private(path)
    host = urlsplit(site.urls[0]).hostname or ""
    try:
        entry = netrc.netrc(str(path)).hosts.get(host)
    except (netrc.NetrcParseError, UnicodeDecodeError):  # their text quotes the line, which may hold the secret
        raise InputError(
            "this is no netrc file", file=path, expected=f"lines such as: machine {host} login me password TOKEN"
        ) from None
    return _token(entry[2], str(path)) if entry is not None and entry[2] else None


def credentials_file(environment: Mapping[str, str]) -> Path | None:
    """The file that holds tokens, if there is one.

    Raises
    ------
    InputError
        If the one that was named is not there.
    """
    named = environment.get(FILE_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise InputError("there is no such credentials file", file=named, fix=f"correct {FILE_VARIABLE}")
        return Path(named)
    folder = user_folder(environment)
    path = folder / "credentials" if folder else None
    return path if path is not None and path.is_file() else None


def require_private(path: Path) -> None:
    """Nothing, if the file belongs to this user and nobody else can read or change it.

    Raises
    ------
    SafetyRefusal
        Otherwise.
    """
    facts = path.stat()
    if facts.st_mode & OTHERS or facts.st_uid not in (os.getuid(), 0):
        raise SafetyRefusal(
            f"others can read or change this file of secrets: its mode is {stat.S_IMODE(facts.st_mode):o}",
            file=path,
            expected="a file of yours with mode 600",
            fix=f"chmod 600 '{path}', and make a new token if others have been on this machine",
        )


def _token(secret: str, place: str) -> Token:
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InputError("the token holds characters that no token has", file=place, fix="copy it again, without quotes")
    return Token(secret)
