"""gNMI over real TLS: whom we trust, what we show, and what is said where one side does not trust the other."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from certificates import make_certificate
from gnmi_site import Site, small_profile

from collectors.collector import AuthenticationError, CollectError, DeviceRefusedError, Target
from collectors.gnmi import collector as gnmi


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two authorities, a switch's certificate, and a client's of each authority."""
    folder = tmp_path_factory.mktemp("keys")
    make_certificate(folder, "authority")
    make_certificate(folder, "stranger")
    make_certificate(folder, "leaf", names="DNS:leaf-2.fabric", signer="authority")
    make_certificate(folder, "client", signer="authority")
    make_certificate(folder, "foreign", signer="stranger")
    return folder


def server_side(keys: Path, *, asks_for_client: bool) -> grpc.ServerCredentials:
    pair = ((keys / "leaf.key").read_bytes(), (keys / "leaf.pem").read_bytes())
    trusted = (keys / "authority.pem").read_bytes() if asks_for_client else None
    return grpc.ssl_server_credentials([pair], trusted, asks_for_client)


@pytest.fixture
async def site(keys: Path) -> AsyncIterator[Site]:
    made = Site()
    await made.open(server_side(keys, asks_for_client=False))
    yield made
    await made.close()


@pytest.fixture
async def strict(keys: Path) -> AsyncIterator[Site]:
    """Yield a switch that wants a client certificate, as SONiC does unless client_auth is off."""
    made = Site()
    await made.open(server_side(keys, asks_for_client=True))
    yield made
    await made.close()


def trusting(keys: Path, **options: str) -> dict[str, str]:
    return {"tls": "on", "ca": str(keys / "authority.pem"), "server_name": "leaf-2.fabric", **options}


async def polled(site: Site, **options: str) -> int:
    """Return the number of points of two polls: one by Get, one by a stream."""
    opened = site.collector(replace(site.target(), options=options), small_profile())
    try:
        await site.poll(opened)
        site.pass_time(30)
        return len((await site.poll(opened)).points)
    finally:
        await opened.aclose()


async def test_authority_and_name_that_are_given_are_trusted(site: Site, keys: Path) -> None:
    assert await polled(site, **trusting(keys)) > len(site.switch.ports)


async def test_other_authority_is_refused_and_the_way_out_is_named(site: Site, keys: Path) -> None:
    for ca in ({"ca": str(keys / "stranger.pem")}, {}):
        told = pytest.raises(
            AuthenticationError, match="TLS fails: its certificate is not signed by an authority that we"
        )
        with told as caught:
            await polled(site, tls="on", server_name="leaf-2.fabric", **ca)
        assert caught.value.rest_seconds == 60


async def test_other_name_is_refused_and_the_way_out_is_named(site: Site, keys: Path) -> None:
    for options in (trusting(keys, server_name="leaf-3.fabric"), {"ca": str(keys / "authority.pem")}):
        with pytest.raises(AuthenticationError, match="has another name: give the name in it as option server_name"):
            await polled(site, **options)


async def test_client_certificate_is_shown(strict: Site, keys: Path) -> None:
    own = {"cert": str(keys / "client.pem"), "key": str(keys / "client.key")}
    assert await polled(strict, **trusting(keys, **own)) > len(strict.switch.ports)


async def test_client_without_a_certificate_is_told_what_to_give(strict: Site, keys: Path) -> None:
    with pytest.raises(DeviceRefusedError, match=r"does it want a client certificate: options cert and key\?"):
        await polled(strict, **trusting(keys))


async def test_client_certificate_of_another_authority_is_asked_about(strict: Site, keys: Path) -> None:
    foreign = {"cert": str(keys / "foreign.pem"), "key": str(keys / "foreign.key")}
    with pytest.raises(DeviceRefusedError, match=r"does it trust our cert\?"):
        await polled(strict, **trusting(keys, **foreign))


async def test_files_that_hold_no_keys_are_told(site: Site, keys: Path) -> None:
    with pytest.raises(AuthenticationError, match="a file of ca, cert or key holds no usable PEM"):
        await polled(site, **trusting(keys, ca=__file__))
    mixed = {"cert": str(keys / "client.pem"), "key": str(keys / "foreign.key")}
    with pytest.raises(AuthenticationError, match="or key does not belong to cert"):
        await polled(site, **trusting(keys, **mixed))
    with pytest.raises(CollectError, match=r"key=/no/such\.key: No such file"):
        await polled(site, **trusting(keys, key="/no/such.key"))


async def test_one_side_in_clear_is_told_which(site: Site, keys: Path) -> None:
    with pytest.raises(DeviceRefusedError, match=r"a server with TLS needs tls=on"):
        await polled(site, tls="off")
    plain = Site()
    await plain.open()
    with pytest.raises(AuthenticationError, match="it does not speak TLS: set tls=off"):
        await polled(plain, **trusting(keys))
    await plain.close()


async def test_certificate_end_is_told_by_examine(site: Site, strict: Site, keys: Path) -> None:
    own = {"cert": str(keys / "client.pem"), "key": str(keys / "client.key")}
    for one, options in ((site, trusting(keys)), (strict, trusting(keys, **own))):
        target: Target = replace(one.target(), options=options)
        lines = await gnmi.examine(target, small_profile())
        assert sum(line.startswith("TLS: certificate valid until 20") for line in lines) == 1
