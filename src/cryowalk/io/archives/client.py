"""HTTP with manners: timeouts, repetitions with growing waits, few redirects, and a token that only its own hosts see."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from cryowalk.core.errors import EnvironmentFault, InputError, SafetyRefusal
from cryowalk.core.execution import Progress, SilentProgress
from cryowalk.io.archives.credentials import Token
from cryowalk.io.archives.settings import TransferSettings
from cryowalk.io.archives.sites import Configuration, Site
from cryowalk.io.archives.waiting import patiently, wait

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that may be another a little later
MOVED = {301, 302, 303, 307, 308}
DOCUMENT_LIMIT = 2**25  # bytes of a listing
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Interrupted(Exception):
    """A failure that may pass: the reason, in words, and how long the server asks to wait, s."""

    def __init__(self, reason: str, *, wait_for: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_for = wait_for


class NotThere(InputError):
    """An entry or a file that the archive does not have."""


def library() -> Any:
    """The module `requests`.

    Raises
    ------
    EnvironmentFault
        If the extra `data` is not installed.
    """
    try:
        import pooch
        import requests
    except ImportError as error:
        raise EnvironmentFault(
            f"archives need a package that is not installed: {error.name}", fix="pip install 'cryowalk[data]'"
        ) from None
    del pooch
    return requests


def place(url: str) -> str:
    """The address without what follows the question mark, which may hold a signature that is as good as a password."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


class Client:
    """Requests to one site and wherever it redirects to; `progress` hears of repetitions and can stop any wait.

    `sums` are those that the user knows of files, by their names.
    """

    def __init__(
        self,
        site: Site,
        configuration: Configuration,
        *,
        token: Token | None = None,
        sums: Mapping[str, str] | None = None,
        settings: TransferSettings | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.site = site
        self.sums = sums or {}
        self.settings = settings or TransferSettings()
        self.progress = progress or SilentProgress()
        self._configuration = configuration
        self._token = token
        self._session = library().Session()
        # The environment's proxies are asked for below; its netrc file would put passwords into requests behind our back.
        self._session.trust_env = False
        self._session.headers.update({"User-Agent": "cryowalk", "Accept-Encoding": "identity"})

    def sees_token(self, url: str) -> bool:
        """Whether the token may be sent there: to the site's own addresses, and by https to hosts of its domain."""
        if any(origin(url) == origin(own) for own in self.site.urls):
            return True
        scheme, host, _ = origin(url)
        domain = self.site.token_domain
        is_home = any((urlsplit(own).hostname or "").endswith(domain) for own in self.site.urls)
        return bool(domain) and is_home and scheme == "https" and (host == domain or host.endswith("." + domain))

    def open(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        expected: frozenset[int] = frozenset({200}),
    ) -> "requests.Response":
        """The response, its body not read yet, with one of the expected numbers; redirects are followed.

        Raises
        ------
        Interrupted
            If the failure may pass.
        NotThere, EnvironmentFault, SafetyRefusal
            If it will not.
        """
        for _ in range(self.settings.redirects + 1):
            response = self._send(url, method, dict(headers or {}), body)
            target = response.headers.get("Location")
            if response.status_code in MOVED and target:
                response.close()
                url = self._next(url, target, method)
                continue
            if response.status_code in expected:
                return response
            response.close()
            raise self._refused(response, url)
        raise EnvironmentFault(
            f"{place(url)}: redirected more than {self.settings.redirects} times in a row", cause="a loop of the server's"
        )

    def _send(self, url: str, method: str, headers: dict[str, str], body: Any) -> "requests.Response":
        http = library()
        if urlsplit(url).username is not None:
            raise SafetyRefusal(f"{self.site.title} leads to an address with a user's name in it", file=urlsplit(url).hostname)
        if self._token is not None and self.sees_token(url):
            headers = {**headers, "Authorization": self._token.header()}
        prepared = self._session.prepare_request(http.Request(method, url, headers=headers, data=body))
        settings = self.settings
        proxy = self._configuration.proxy
        environment = {} if urlsplit(url).hostname in LOOPBACK else http.utils.get_environ_proxies(url)
        proxies = {"http": proxy, "https": proxy} if proxy and urlsplit(url).hostname not in LOOPBACK else environment

        def send() -> Any:
            return self._session.send(
                prepared,
                stream=True,
                timeout=(settings.connect_timeout, settings.stall_timeout),
                verify=self._configuration.certificates or True,
                proxies=proxies,
                allow_redirects=False,
            )

        try:
            response: requests.Response = patiently(send, self.progress)
        except http.RequestException as error:
            raise failure(error, url) from None  # the error's text may hold a signed address
        except OSError as error:  # a file of certificates that is not there
            raise EnvironmentFault(f"no connection can be made: {error}", fix="look at the certificates' file") from None
        return response

    def _next(self, url: str, target: str, method: str) -> str:
        following = urljoin(url, target)
        if method not in ("GET", "HEAD"):
            raise EnvironmentFault(f"{place(url)}: the archive moves an upload elsewhere", fix="look whether its address changed")
        if urlsplit(following).scheme not in ("http", "https"):
            raise SafetyRefusal(f"{place(url)}: redirected to something that is no web address: {place(following)[:80]}")
        if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
            raise SafetyRefusal(
                f"{place(url)}: redirected from https to plain http, where anybody could change the file", file=place(following)
            )
        return following

    def _refused(self, response: "requests.Response", url: str) -> Exception:
        code = response.status_code
        told = f"{place(url)}: {self.site.title} answers {code} ({response.reason or 'no reason'})"
        if code in PASSING:
            wish = response.headers.get("Retry-After", "")
            return Interrupted(f"{code} ({response.reason})", wait_for=float(wish) if wish.isdigit() else 0.0)
        if code in (404, 410):
            return NotThere(told, cause="a wrong name, or an entry that was moved or withdrawn", fix="check the entry's name")
        if code in (401, 403):
            variable = self.site.token_variable
            has = "the token has no right to it" if self._token is not None else "it is private, and no token was given"
            fix = f"set {variable}, or name another entry" if variable else "wait, or use a mirror"
            return EnvironmentFault(told, cause=has if variable else "", fix=fix)
        return EnvironmentFault(told, fix="try again later, or use a mirror (docs/guide/archives.md)")

    def patient(self, attempt: Callable[[], T], what: str) -> T:
        """The result of `attempt`, made again after failures that may pass.

        Raises
        ------
        EnvironmentFault
            After as many failures as the settings allow.
        """
        for failures in range(1, self.settings.attempts + 1):
            try:
                return attempt()
            except Interrupted as interruption:
                self.pause(interruption, failures, what)
        raise AssertionError("pause raises at the last attempt")

    def pause(self, interruption: Interrupted, failures: int, what: str) -> None:
        """Nothing, after the wait that follows so many failures in a row.

        Raises
        ------
        EnvironmentFault
            If there were as many as the settings allow.
        """
        if failures >= self.settings.attempts:
            raise EnvironmentFault(
                f"{what}: {interruption.reason}" + (f", {failures} times in a row" if failures > 1 else ""),
                cause="the network or the archive is down, or a proxy is in between",
                fix="start the same command again later; what has arrived is kept, and the rest is fetched then",
            ) from None
        seconds = min(max(self.settings.first_wait * 2 ** (failures - 1), interruption.wait_for), self.settings.longest_wait)
        self.progress.note(f"{what}: {interruption.reason}; again in {seconds:.3g} s")
        wait(seconds, self.progress)

    def document(self, url: str, *, method: str = "GET", body: Any = None, expected: frozenset[int] = frozenset({200})) -> bytes:
        """The whole body of a small answer, at most 32 MiB.

        Raises
        ------
        Interrupted, EnvironmentFault, NotThere, SafetyRefusal
            As `open`.
        """
        requests = library()
        response = self.open(url, method=method, body=body, expected=expected)
        with response:

            def read() -> bytes:
                content = bytearray()
                for piece in response.iter_content(2**16):
                    content += piece
                    if len(content) > DOCUMENT_LIMIT:
                        raise EnvironmentFault(f"{place(url)}: the list is longer than {DOCUMENT_LIMIT >> 20} MiB")
                return bytes(content)

            try:
                return patiently(read, self.progress)
            except requests.RequestException as error:
                raise failure(error, url) from None

    def json(self, url: str) -> dict[str, Any]:
        """The object that the address answers with.

        Raises
        ------
        EnvironmentFault
            If it answers with anything else.
        """
        return self.patient(lambda: json_object(self.document(url), url), place(url))


def json_object(content: bytes, url: str) -> dict[str, Any]:
    """The JSON object in a body.

    Raises
    ------
    EnvironmentFault
        If it is none.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        what = "a web page" if content[:512].lstrip().lower().startswith((b"<!doctype", b"<html")) else "no JSON object"
        raise EnvironmentFault(
            f"{place(url)}: answered with {what}", cause="a wrong address, a log-in page, or a proxy in between"
        )
    return value


def failure(error: Exception, url: str) -> Exception:
    """An error of the network in our words: one that may pass, or one that will not."""
    exceptions, host = library().exceptions, urlsplit(url).hostname
    if isinstance(error, exceptions.SSLError):
        return EnvironmentFault(
            f"{place(url)}: the certificate of {host} is not trusted",
            cause="a proxy that reads along, a wrong clock, or a host that is not who it says",
            fix="give the certificate's file in REQUESTS_CA_BUNDLE if you trust it; checking is never switched off",
        )
    if isinstance(error, exceptions.InvalidURL | exceptions.InvalidSchema | exceptions.MissingSchema):
        return EnvironmentFault(f"the archive leads to an address that is none: {place(url)[:80]}")
    if "NameResolution" in str(error) or "getaddrinfo" in str(error):
        return Interrupted(f"the name {host} cannot be resolved (no network?)")
    reasons = (
        (exceptions.ProxyError, "the proxy does not answer"),
        (exceptions.ConnectTimeout, f"{host} cannot be reached in time"),
        (exceptions.Timeout, f"{host} has fallen silent"),
        (exceptions.ConnectionError, f"the connection to {host} failed or broke"),
    )
    return Interrupted(next((words for kind, words in reasons if isinstance(error, kind)), f"the answer of {host} broke off"))
