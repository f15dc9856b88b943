"""A page over real HTTPS: whom we trust, what we show, and what is said where one side does not trust the other."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest
from aiohttp import web
from certificates import make_certificate
from pages import Handler, one, page, poll, serve, target

from collectors.collector import AuthenticationError, CollectError, DeviceRefusedError, ProtocolError
from collectors.exposition import collector as exposition
from collectors.profile import load_profile
from storage.config import Secret


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two authorities, a server's certificate for a name and one for 127.0.0.1, and a client's."""
    folder = tmp_path_factory.mktemp("keys")
    make_certificate(folder, "authority")
    make_certificate(folder, "stranger")
    make_certificate(folder, "named", names="DNS:metrics.internal", signer="authority")
    make_certificate(folder, "numbered", names="IP:127.0.0.1", signer="authority")
    make_certificate(folder, "client", signer="authority")
    return folder


def server_side(keys: Path, certificate: str, *, asks_for_client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / f"{certificate}.pem", keys / f"{certificate}.key")
    if asks_for_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(keys / "authority.pem")
    return context


async def answer(_: web.Request) -> web.Response:
    return web.Response(text=page("vllm_0.33.0_generated"))


async def check(url: str, **options: str) -> None:
    assert one(await poll(url, options=options), "inference", engine="0").fields["output_tokens_total"] == 23097.0


async def test_a_server_whose_authority_is_named_is_trusted(keys: Path) -> None:
    async with serve(answer, server_side(keys, "numbered")) as url:
        await check(url, ca=str(keys / "authority.pem"))


async def test_a_server_may_have_another_name_in_its_certificate(keys: Path) -> None:
    async with serve(answer, server_side(keys, "named")) as url:
        await check(url, ca=str(keys / "authority.pem"), server_name="metrics.internal")
        with pytest.raises(AuthenticationError, match="give the name in its certificate as option server_name"):
            await check(url, ca=str(keys / "authority.pem"))


async def test_an_unknown_authority_is_refused_unless_tls_is_insecure(keys: Path) -> None:
    async with serve(answer, server_side(keys, "numbered")) as url:
        for options in ({}, {"tls": "on"}, {"ca": str(keys / "stranger.pem")}):
            with pytest.raises(AuthenticationError, match=r"TLS fails: .*; name its authority with option ca"):
                await check(url, **options)
        await check(url, tls="insecure")


async def test_a_client_certificate_is_shown(keys: Path) -> None:
    shown = {"cert": str(keys / "client.pem"), "key": str(keys / "client.key")}
    async with serve(answer, server_side(keys, "numbered", asks_for_client=True)) as url:
        await check(url, ca=str(keys / "authority.pem"), **shown)
        await check(url, tls="insecure", **shown)


@contextmanager
def refusing(context: ssl.SSLContext) -> Iterator[str]:
    """Serve handshakes alone, each failure with its TLS alert, as servers other than asyncio's do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one(raw: socket.socket) -> None:
            wrapped = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
            with suppress(ssl.SSLError):
                wrapped.do_handshake()
            with socket.socket(fileno=wrapped.detach()) as rest:
                rest.shutdown(socket.SHUT_WR)
                while rest.recv(4096):
                    pass

        def serve_all() -> None:
            # the client asks once more when a kept connection breaks; shutting the listener down ends the loop
            with suppress(OSError):
                while True:
                    serve_one(listener.accept()[0])

        thread = Thread(target=serve_all)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}/metrics"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.mark.parametrize("shown", [None, "stranger"])
async def test_a_client_that_the_server_does_not_trust_is_told_what_to_give(keys: Path, shown: str | None) -> None:
    own = {"cert": str(keys / f"{shown}.pem"), "key": str(keys / f"{shown}.key")} if shown else {}
    told = pytest.raises(AuthenticationError, match="wants a client certificate that it trusts: options cert and key")
    with refusing(server_side(keys, "numbered", asks_for_client=True)) as url, told:
        await check(url, ca=str(keys / "authority.pem"), **own)


async def test_a_server_that_hangs_up_on_a_client_without_a_certificate(keys: Path) -> None:
    async with serve(answer, server_side(keys, "numbered", asks_for_client=True)) as url:
        with pytest.raises(DeviceRefusedError, match=r"does it want a client certificate \(options cert and key\)\?"):
            await check(url, ca=str(keys / "authority.pem"))


async def test_certificates_renewed_in_place_are_taken_after_a_failure(keys: Path, tmp_path: Path) -> None:
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes((keys / "stranger.pem").read_bytes())
    async with serve(answer, server_side(keys, "numbered")) as url:
        collector = exposition.open_collector(target(url, options={"ca": str(trusted)}), load_profile("vllm"))
        with pytest.raises(AuthenticationError, match="TLS fails"):
            await collector.poll(1)
        trusted.write_bytes((keys / "authority.pem").read_bytes())
        assert (await collector.poll(2)).points
        await collector.aclose()


@pytest.mark.parametrize("option", ["ca", "cert"])
async def test_a_file_that_cannot_be_read_is_named(keys: Path, option: str) -> None:
    async with serve(answer, server_side(keys, "numbered")) as url:
        with pytest.raises(AuthenticationError, match=rf"cannot read {option} '/nowhere\.pem'"):
            await check(url, **{option: "/nowhere.pem"})
        with pytest.raises(AuthenticationError, match=f"cannot read {option} .*PEM files are wanted"):
            await check(url, **{option: __file__})


async def test_http_where_https_was_asked_for() -> None:
    async with serve(answer) as url:
        with pytest.raises(AuthenticationError, match="does it speak http, not https"):
            await check(url.replace("http:", "https:"))


async def test_credentials_go_along_to_https_and_never_back(keys: Path) -> None:
    seen: list[str | None] = []

    async def safe(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return await answer(request)

    async with serve(safe, server_side(keys, "numbered")) as https, serve(_redirect_to(https)) as http:
        await poll(http, password=Secret("sesame"), options={"ca": str(keys / "authority.pem")})
    assert seen == ["Bearer sesame"]
    async with serve(safe) as http, serve(_redirect_to(http), server_side(keys, "numbered")) as https:
        with pytest.raises(ProtocolError, match=r"redirects to 'http://.*without TLS"):
            await poll(https, password=Secret("sesame"), options={"ca": str(keys / "authority.pem")})
    assert seen == ["Bearer sesame"]


def _redirect_to(url: str) -> Handler:
    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(url)

    return redirect


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tls": "off"}, "tls='off' is not allowed; allowed: on, insecure"),
        ({"verify": "no"}, "a metrics page has no option 'verify'"),
        ({"key": "k.pem"}, "`key` without `cert`"),
        ({"ca": "a.pem", "tls": "insecure"}, "keep one of them"),
    ],
)
def test_wrong_options_are_refused_before_anything_starts(options: dict[str, str], message: str) -> None:
    with pytest.raises(CollectError, match=message):
        exposition.open_collector(target(options=options), load_profile("vllm"))
