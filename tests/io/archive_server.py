"""Ways in which an archive misbehaves, for the loopback archive of `cryowalk.course.fake_archive`: each is one answer, and every wait is bounded."""

import ssl
import time

from cryowalk.course.fake_archive import Answer, FakeArchive, broken_off

__all__ = [
    "CERTIFICATE",
    "broken_off",
    "changed",
    "dripping",
    "endless",
    "html",
    "ignoring_range",
    "lying",
    "redirected",
    "secure",
]
__all__ += ["silent", "status", "torn_chunks", "unbounded", "wrong"]
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>" + b"x" * 3000 + b"</body></html>"


def status(code: int, **headers: str):
    """An answer with this number and a short text."""

    def misbehave(answer: Answer, content: bytes) -> None:
        answer.say(code, b"an error", "text/plain", **headers)

    return misbehave


def redirected(url: str):
    """An answer that leads elsewhere."""
    return status(302, Location=url)


def html(answer: Answer, content: bytes) -> None:
    """A web page in place of the file, with number 200."""
    answer.say(200, HTML, "text/html; charset=utf-8")


def wrong(answer: Answer, content: bytes) -> None:
    """Other bytes of the same length."""
    other = bytes(value ^ 1 for value in content[:64]) + content[64:]
    answer.begin(200, len(other), ETag='"other"')
    answer.body(other)


def lying(difference: int):
    """An answer whose length is told wrongly."""

    def misbehave(answer: Answer, content: bytes) -> None:
        answer.begin(200, len(content) + difference)
        answer.body(content)
        answer.close_connection = True

    return misbehave


def ignoring_range(answer: Answer, content: bytes) -> None:
    """The whole file, whatever part was asked for."""
    answer.begin(200, len(content), ETag='"same"')
    answer.body(content)


def changed(answer: Answer, content: bytes) -> None:
    """The part that was asked for, of a file that has another name of its state: If-Range was not heeded."""
    start = int(answer.headers["Range"].removeprefix("bytes=").partition("-")[0])
    answer.begin(206, len(content) - start, ETag='"another"', **answer.range_of(start, content))
    answer.body(content[start:])


def silent(seconds: float, *, after: float = 0.5):
    """A part of the file, then nothing for a while, then the end of the connection."""

    def misbehave(answer: Answer, content: bytes) -> None:
        answer.begin(200, len(content), ETag='"same"')
        answer.body(content[: int(after * len(content))])
        answer.wfile.flush()
        time.sleep(seconds)
        answer.close_connection = True

    return misbehave


def dripping(pause: float, *, drops: int = 200):
    """One byte after each pause."""

    def misbehave(answer: Answer, content: bytes) -> None:
        answer.begin(200, len(content), ETag='"same"')
        for place in range(drops):
            if answer.close_connection:
                return
            answer.body(content[place : place + 1])
            time.sleep(pause)
        answer.close_connection = True

    return misbehave


def endless(answer: Answer, content: bytes) -> None:
    """Chunks without end (bounded here: 64 MiB)."""
    answer.begin(200, None, **{"Transfer-Encoding": "chunked"})
    piece = b"%x\r\n" % 2**16 + bytes(2**16) + b"\r\n"
    for _ in range(1024):
        if answer.close_connection:
            return
        answer.body(piece)


def torn_chunks(answer: Answer, content: bytes) -> None:
    """A chunk that is shorter than it says."""
    answer.begin(200, None, **{"Transfer-Encoding": "chunked"})
    answer.body(b"%x\r\n" % len(content) + content[: len(content) // 2])
    answer.close_connection = True


def unbounded(share: float):
    """A share of the file with no length told; the end of the connection is the end, as in HTTP/1.0."""

    def misbehave(answer: Answer, content: bytes) -> None:
        answer.begin(200, None, Connection="close")
        answer.body(content[: int(share * len(content))])
        answer.close_connection = True

    return misbehave


def secure(archive: FakeArchive, folder) -> str:
    """The https address of the archive, which shows a certificate that nobody signed."""
    pem = folder / "certificate.pem"
    pem.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    archive.server.socket = context.wrap_socket(archive.server.socket, server_side=True, do_handshake_on_connect=False)
    return archive.url.replace("http://127.0.0.1", "https://localhost")


# Made for this test alone: `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost
# -addext subjectAltName=DNS:localhost,IP:127.0.0.1`; the key protects nothing.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgilbwBuDU2QRUzUWi
YhAeZYOnKrTiNK7DCiYYespjVi+hRANCAAQsErf+jaz8XpGoe7SbS+AG9P7s1Ef+
cwAmn0X5hu2I0iw45nyojVG6dG3sCUAtSlKHVIbrJ6i3R3IjRNqFQLMD
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUSBYF/1Dch6X3ofGpCnnTeCLZS3YwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTIwNTAxNVoYDzIxMjYxMDI4
MjA1MDE1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQsErf+jaz8XpGoe7SbS+AG9P7s1Ef+cwAmn0X5hu2I0iw45nyojVG6
dG3sCUAtSlKHVIbrJ6i3R3IjRNqFQLMDo28wbTAdBgNVHQ4EFgQUJlQaOHE34OiG
clbbN8KjKRYET1owHwYDVR0jBBgwFoAUJlQaOHE34OiGclbbN8KjKRYET1owDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAKvCM3eug+CZFoY1e0o/ENLLXStGeidUxX2gku97vMlCAiEA
+NqDFTYI3U8e7+60iDOgg00CDKSbqeldFn8SdgO1OQA=
-----END CERTIFICATE-----
"""
