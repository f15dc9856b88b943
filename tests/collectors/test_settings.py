"""Targets: their URLs, their place, and every mistake in the section with its line."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from collectors.address import add_options, parse_options
from collectors.inventory import Inventory, load_inventory
from collectors.settings import CollectorsSettings, TargetUrl, build_targets, parse_target_url
from storage.config import ConfigError, InvalidValueError, Problem, Secret, load_yaml


class Site(BaseModel):
    model_config = ConfigDict(extra="forbid")

    collectors: CollectorsSettings
    allow_plaintext_secrets: bool = False


ENVIRONMENT = {"PASSWORD": "p@ss"}

URLS = [
    ("snmp://public@10.0.0.1:1161?version=2c", TargetUrl("snmp", "10.0.0.1:1161", "public", None, {"version": "2c"})),
    ("snmp://10.0.0.1", TargetUrl("snmp", "10.0.0.1:161")),
    (
        "snmp://monitor@leaf-1?version=3&auth=sha256&priv=aes128",
        TargetUrl("snmp", "leaf-1:161", "monitor", None, {"version": "3", "auth": "sha256", "priv": "aes128"}),
    ),
    ("http://10.0.0.2:8000/metrics?x=1", TargetUrl("exposition", "http://10.0.0.2:8000/metrics?x=1")),
    ("https://me:pa%40ss@host/metrics", TargetUrl("exposition", "https://host/metrics", "me", Secret("pa@ss"))),
    ("modbus://10.0.0.7", TargetUrl("modbus", "10.0.0.7:502")),
    (
        "modbus://[fe80::7]:1502?profile=x&gap=4",
        TargetUrl("modbus", "[fe80::7]:1502", options={"gap": "4"}, profile="x"),
    ),
    ("redfish://u:p@bmc?tls=off", TargetUrl("redfish", "bmc:80", "u", Secret("p"), {"tls": "off"})),
    ("redfish://bmc", TargetUrl("redfish", "bmc:443")),
    ("gnmi://leaf-1:8080?tls=off", TargetUrl("gnmi", "leaf-1:8080", options={"tls": "off"})),
    ("mqtt://broker", TargetUrl("mqtt", "broker:1883")),
    ("mqtt://broker?tls=on", TargetUrl("mqtt", "broker:8883", options={"tls": "on"})),
    ("nvml://", TargetUrl("nvml", "")),
    ("nvml:///opt/lib/libnvidia-ml.so.1", TargetUrl("nvml", "/opt/lib/libnvidia-ml.so.1")),
]


@pytest.mark.parametrize(("url", "expected"), URLS)
def test_a_url_names_protocol_address_and_switches(url: str, expected: TargetUrl) -> None:
    assert parse_target_url(url) == expected


BAD_URLS = [
    ("10.0.0.1:161", "no scheme", "snmp://"),
    ("snmpv3://10.0.0.1", "unknown scheme 'snmpv3'", "did you mean 'snmp'?"),
    ("ftp://x", "unknown scheme 'ftp'", ""),
    ("snmp://", "no host", "snmp://community@host:161"),
    ("snmp://public@", "no host", "snmp://community@host"),
    ("snmp://10.0.0.1:70000", "malformed", "host:161"),
    ("snmp://10.0.0.1:abc", "malformed", "host:161"),
    ("snmp://10.0.0.1:0", "no port", "host:161"),
    ("snmp://[fe80::1", "malformed", "host:161"),
    ("snmp://10.0.0.1/system", "snmp has no path: '/system'", "host:161"),
    ("snmp://10.0.0.1?versoin=3", "snmp has no option 'versoin'", "did you mean 'version'?"),
    ("snmp://10.0.0.1?version=4", "version='4' is not allowed", "1, 2c, 3"),
    ("snmp://10.0.0.1?version=3", "needs a user", "snmp://user@host"),
    ("snmp://u@10.0.0.1?version=3&priv=aes128", "priv without auth", "auth=sha256"),
    ("snmp://u@10.0.0.1?auth=sha256", "auth need version=3", "version=3"),
    ("snmp://u:secret1@10.0.0.1?version=3", "holds no password", "auth=sha256"),
    ("snmp://10.0.0.1?version", "name=value", ""),
    ("snmp://10.0.0.1?version=1&version=2c", "twice", ""),
    ("snmp://10.0.0.1 ", "a space", ""),
    ("modbus://10.0.0.1?word_order=middle", "word_order='middle'", "big, little"),
    ("gnmi://leaf-1", "no port", "gnmi://host:port"),
    ("gnmi://leaf-1:8080?tls=insecure", "tls='insecure'", "on, off"),
    ("redfish://u:secret1@bmc/redfish/v1", "no path", "redfish://user@host"),
    ("redfish://u:secret1#x@bmc", "behind #", "%23"),
    ("redfish://u:12/secret1@bmc", "behind the host", "%2F"),
    ("redfish://u:12?secret1=x@bmc", "behind the host", "%2F"),
    ("http:///metrics", "no host", "http://host:port/metrics"),
    ("nvml://libnvidia-ml.so.1", "third slash", "nvml:///path"),
    ("nvml:///x?tls=on", "nvml has no option 'tls'", "nvml://"),
    ("nvml:///x?worklod=on", "nvml has no option 'worklod'", "did you mean 'workload'?"),
]


@pytest.mark.parametrize(("url", "reason", "hint"), BAD_URLS)
def test_a_wrong_url_says_what_is_wrong_and_the_right_form(url: str, reason: str, hint: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_target_url(url)
    text = f"{caught.value.reason} {caught.value.hint}"
    assert reason in caught.value.reason
    assert hint in text
    assert "secret1" not in text


def test_nvml_is_not_offered_a_profile() -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_target_url("nvml:///x?tls=on")
    assert "profile" not in caught.value.hint


@pytest.mark.parametrize(
    ("url", "more", "address", "options"),
    [
        ("redfish://bmc", {"tls": "off"}, "bmc:80", {"tls": "off"}),
        ("redfish://bmc:8443", {"tls": "off"}, "bmc:8443", {"tls": "off"}),
        ("mqtt://[fe80::1]", {"tls": "on"}, "[fe80::1]:8883", {"tls": "on"}),
        ("modbus://h?gap=4", {"retries": "2"}, "h:502", {"gap": "4", "retries": "2"}),
        ("https://h/metrics", {"tls": "insecure"}, "https://h/metrics", {"tls": "insecure"}),
        ("snmp://me@h", {"version": "3"}, "h:161", {"version": "3"}),
    ],
)
def test_switches_beside_the_url_join_those_in_it(
    url: str, more: dict[str, str], address: str, options: dict[str, str]
) -> None:
    full = add_options(parse_target_url(url), more)
    assert (full.address, full.options) == (address, options)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [([], {}), (["tls=on", "ca=/a=b"], {"tls": "on", "ca": "/a=b"})],
)
def test_switches_of_the_command_line_are_name_and_value(pairs: list[str], expected: dict[str, str]) -> None:
    assert parse_options(pairs) == expected


@pytest.mark.parametrize("pairs", [["tls"], ["tls=on", "tls=off"]])
def test_a_switch_without_a_value_or_twice_is_refused(pairs: list[str]) -> None:
    with pytest.raises(InvalidValueError, match="each name once"):
        parse_options(pairs)


def write(folder: Path, *targets: str, more: str = "", head: str = "") -> Path:
    path = folder / "site.yaml"
    lines = "".join(f"    - {{{target}}}\n" for target in targets)
    path.write_text(f"{head}collectors:\n  site: S\n{more}  targets:\n{lines}", "utf-8")
    return path


def load(path: Path) -> CollectorsSettings:
    return load_yaml(path, Site, ENVIRONMENT).collectors


def problems(path: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.problems


PDU = 'name: pdu-1, url: "snmp://public@10.0.0.1"'

# target, key below collectors.targets[0], words of the reason, words of the hint
BROKEN = {
    "no name": ('url: "nvml://"', "name", "is missing", ""),
    "empty name": ('name: "", url: "nvml://"', "name", "'' is no name", "a word"),
    "name with a space": ('name: pdu 1, url: "nvml://"', "name", "'pdu 1' is no name", "a word"),
    "name with a comma": ('name: "pdu,1", url: "nvml://"', "name", "is no name", "a word"),
    "no url": ("name: pdu-1", "url", "is missing", ""),
    "number as url": ("name: pdu-1, url: 5", "url", "must be text", "snmp://"),
    "url without scheme": ('name: pdu-1, url: "10.0.0.1"', "url", "no scheme", "snmp://"),
    "url with a plain password": ('name: b, url: "redfish://u:hunter2@bmc"', "url", "plain text", "${NAME}"),
    "plain password": (f"{PDU}, password: hunter2", "password", "plain text", "file:/path"),
    "plain privacy password": (f"{PDU}, priv_password: hunter2", "priv_password", "plain text", "file:/path"),
    "unknown key": (f"{PDU}, intervall: 5s", "intervall", "unknown key", "did you mean 'interval'?"),
    "interval without unit": (f"{PDU}, interval: 5", "interval", "5 is no duration", "5s"),
    "interval too short": (f"{PDU}, interval: 100ms", "interval", "0.1s is out of range", "500ms to 1h"),
    "interval too long": (f"{PDU}, interval: 1d", "interval", "86400s is out of range", "500ms to 1h"),
    "interval too fine": (f"{PDU}, interval: 0.5005s", "interval", "finer than a millisecond", ""),
    "timeout of nothing": (f"{PDU}, timeout: 0s", "timeout", "out of range", "100ms"),
    "user twice": (f"{PDU}, username: me", "username", "in the URL and beside it", "keep one"),
    "profile twice": (
        'name: p, url: "modbus://h?profile=ocp_hpr_shelf", profile: ocp_hpr_shelf', "profile",
        "in the URL and beside it", "keep one",
    ),
    "unknown profile": (f"{PDU}, profile: apc_rpdu", "profile", "no profile 'apc_rpdu'", "did you mean 'apc_rpdu2'?"),
    "unknown profile in the URL": ('name: p, url: "modbus://h?profile=none"', "url", "no profile 'none'", ""),
    "profile of another protocol": (
        f"{PDU}, profile: vllm", "profile", "'vllm' speaks exposition, the URL snmp", "change one",
    ),
    "switch in the URL too": (
        'name: b, url: "redfish://bmc?tls=off", options: {tls: "off"}', "options.tls", "stands in the URL too", "keep",
    ),
    "unknown switch": (
        'name: v, url: "http://h/metrics", options: {server_nam: h}', "options.server_nam",
        "a metrics page has no option 'server_nam'", "did you mean 'server_name'?",
    ),
    "switch of another protocol": (
        f"{PDU}, options: {{tls: insecure}}", "options.tls", "snmp has no option 'tls'", "version",
    ),
    "value of a switch": (
        'name: v, url: "https://h/metrics", options: {tls: maybe}', "options.tls", "tls='maybe'", "on, insecure",
    ),
    "switch that is no text": (
        'name: v, url: "https://h/metrics", options: {tls: true}', "options.tls", "must be text", "tls: on",
    ),
    "switches that do not fit": (f"{PDU}, options: {{auth: sha256}}", "options", "auth need version=3", "version=3"),
    "switches as a list": (f"{PDU}, options: [tls]", "options", "must be a mapping", ""),
    "profile of NVML": ('name: n, url: "nvml://", profile: vllm', "profile", "NVML needs no profile", "leave"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_target_says_where_what_and_how(tmp_path: Path, name: str) -> None:
    target, key, reason, hint = BROKEN[name]
    path = write(tmp_path, target)
    (problem,) = problems(path)
    assert (problem.file, problem.line) == (str(path), 4)
    assert problem.key == f"collectors.targets[0].{key}"
    assert reason in problem.reason
    assert hint in problem.hint
    assert "hunter2" not in str(problem)


def test_names_are_used_once(tmp_path: Path) -> None:
    path = write(tmp_path, PDU, PDU.replace("pdu-1", "pdu-2"), PDU, f"{PDU}, profile: none")
    assert [(p.line, p.key, p.reason) for p in problems(path)] == [
        (6, "collectors.targets[2].name", "'pdu-1' is the name of targets[0] already"),
        (7, "collectors.targets[3].name", "'pdu-1' is the name of targets[0] already"),
        (7, "collectors.targets[3].profile", "there is no profile 'none'"),
    ]


def test_a_folder_of_profiles_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = problems(write(tmp_path, more="  profiles: none\n"))
    assert (problem.line, problem.key) == (3, "collectors.profiles")
    assert "is no folder" in problem.reason


def test_a_broken_profile_of_the_site_is_told_with_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text("profile: mine\nmodell: x\n")
    settings = load(write(tmp_path, f"{PDU}, profile: mine", more="  profiles: own\n"))
    with pytest.raises(ConfigError, match=r"own/mine\.yaml:2: modell: unknown key \(did you mean 'model'\?\)"):
        build_targets(settings, load_inventory(inventory(tmp_path)))


def inventory(folder: Path) -> Path:
    path = folder / "inventory.csv"
    path.write_text(
        "kind,id,parent,relation,scope\nsite,S,,contains\nrow,A,S,contains\nrack,A01,A,contains\n"
        "pdu,pdu-1,A01,contains,rack\nhost,node-1,A01,contains\n"
    )
    return path


def test_targets_carry_the_site_s_tags_and_their_place(tmp_path: Path) -> None:
    text = f"{PDU}, profile: apc_rpdu2, timeout: 2s, username: null"
    node = 'name: node-1, url: "nvml://", interval: 1s'
    bms = 'name: bms, url: "mqtt://broker", username: me, password: "${PASSWORD}"'
    path = write(tmp_path, text, node, bms, more="  source: c1\n  synthetic: true\n  inventory: inventory.csv\n")
    settings = load(path)
    assert settings.inventory == inventory(tmp_path)
    pdu, host, gateway = build_targets(settings, load_inventory(inventory(tmp_path)))
    common = {"site": "S", "source": "c1", "synthetic": "true"}
    assert pdu.tags == common | {"row": "A", "rack": "A01"}
    assert host.tags == common | {"row": "A", "rack": "A01", "host": "node-1"}
    assert gateway.tags == common
    assert (pdu.protocol, pdu.address, pdu.username, pdu.profile) == ("snmp", "10.0.0.1:161", "public", "apc_rpdu2")
    assert (pdu.interval, pdu.timeout) == (timedelta(seconds=10), timedelta(seconds=2))  # the profile's own cadence
    assert (host.interval, host.profile) == (timedelta(seconds=1), None)
    assert (gateway.interval, gateway.username) == (timedelta(seconds=5), "me")
    assert (pdu.follows_profile, host.follows_profile, gateway.follows_profile) == (True, False, True)
    assert gateway.password == Secret("p@ss")
    assert "p@ss" not in repr(gateway)


def test_switches_reach_the_target_and_files_start_at_the_site_s_folder(tmp_path: Path) -> None:
    page = 'name: e, url: "https://h/metrics", options: {tls: insecure, cert: keys/c.pem, key: /etc/k.pem}'
    bmc = 'name: b, url: "redfish://bmc", options: {tls: off}'
    gnmi = 'name: l, url: "gnmi://leaf:8080?ca=ca.pem"'
    modbus = 'name: m, url: "modbus://h", options: {retries: 3}'
    settings = load(write(tmp_path, page, bmc, gnmi, modbus))
    engine, board, leaf, meter = build_targets(settings, Inventory())
    assert engine.options == {"tls": "insecure", "cert": str(tmp_path / "keys/c.pem"), "key": "/etc/k.pem"}
    assert (board.address, board.options) == ("bmc:80", {"tls": "off"})
    assert leaf.options == {"ca": str(tmp_path / "ca.pem")}
    assert meter.options == {"retries": "3"}


def test_a_target_may_name_the_host_that_it_speaks_of(tmp_path: Path) -> None:
    exporter = 'name: exporter-1, url: "http://h:9100/metrics", host: node-1'
    stranger = 'name: exporter-2, url: "http://h:9101/metrics", host: node-9'
    settings = load(write(tmp_path, exporter, stranger))
    first, second = build_targets(settings, load_inventory(inventory(tmp_path)))
    assert {key: first.tags.get(key) for key in ("row", "rack", "host")} == {
        "row": "A",
        "rack": "A01",
        "host": "node-1",
    }
    assert (second.tags["host"], "rack" in second.tags) == ("node-9", False)


def lists(folder: Path, *entries: str) -> Path:
    path = folder / "site.yaml"
    path.write_text("collectors:\n  site: S\n  discovery:\n" + "".join(f"    - {{{each}}}\n" for each in entries))
    return path


def test_a_list_says_where_it_is_and_what_holds_for_its_targets(tmp_path: Path) -> None:
    web = 'http_sd: "http://sd/x", refresh: 30s, profile: vllm, timeout: 2s'
    web += ', password: "${PASSWORD}", options: {ca: ca.pem}'
    safe = 'http_sd: {url: "https://sd/x", username: me, password: "${PASSWORD}", options: {tls: insecure}}'
    first, second, third = load(lists(tmp_path, web, safe, "file_sd: found/*.json")).discovery
    assert first.http_sd is not None
    assert first.http_sd.url == TargetUrl("exposition", "http://sd/x")
    assert (first.refresh, first.profile, first.timeout) == (timedelta(seconds=30), "vllm", timedelta(seconds=2))
    assert (first.password, first.options) == (Secret("p@ss"), {"ca": str(tmp_path / "ca.pem")})
    assert second.http_sd is not None
    assert (second.http_sd.username, second.http_sd.options) == ("me", {"tls": "insecure"})
    assert (third.file_sd, third.refresh) == (tmp_path / "found/*.json", timedelta(seconds=60))
    assert "p@ss" not in f"{first!r} {second!r}"


# entry, key below collectors.discovery[0], words of the reason, words of the hint
BROKEN_LISTS = {
    "no source": ("refresh: 30s", "", "http_sd or file_sd", "write - http_sd"),
    "two sources": ('http_sd: "http://h/", file_sd: a.json', "", "http_sd or file_sd", "write"),
    "other protocol": ('http_sd: "snmp://h"', ".http_sd", "snmp is no protocol for a list", "http://"),
    "plain password": ('http_sd: "http://me:hunter2@h/"', ".http_sd", "plain text", "${NAME}"),
    "user twice": ('http_sd: {url: "http://me@h/", username: you}', ".http_sd.username", "in the URL and", "keep one"),
    "other ending": ("file_sd: targets.txt", ".file_sd", "is no list of targets", ".json, .yml, .yaml"),
    "star in a folder": ('file_sd: "*/a.json"', ".file_sd", "is no list of targets", "its name alone"),
    "refresh too short": ("file_sd: a.json, refresh: 100ms", ".refresh", "out of range", "1s to 1h"),
    "unknown profile": ("file_sd: a.json, profile: vlm", ".profile", "no profile 'vlm'", "did you mean 'vllm'?"),
    "other profile": ("file_sd: a.json, profile: apc_rpdu2", ".profile", "speaks snmp", "change one"),
    "unknown switch": ("file_sd: a.json, options: {tsl: on}", ".options.tsl", "no option 'tsl'", "did you mean 'tls'?"),
    "unknown key": ("file_sd: a.json, refesh: 5s", ".refesh", "unknown key", "did you mean 'refresh'?"),
}


@pytest.mark.parametrize("name", BROKEN_LISTS)
def test_a_broken_list_says_where_what_and_how(tmp_path: Path, name: str) -> None:
    entry, key, reason, hint = BROKEN_LISTS[name]
    (problem,) = problems(lists(tmp_path, entry))
    assert (problem.line, problem.key) == (4, f"collectors.discovery[0]{key}")
    assert reason in problem.reason
    assert hint in problem.hint
    assert "hunter2" not in str(problem)


def test_a_url_may_take_its_password_from_the_environment(tmp_path: Path) -> None:
    (target,) = load(write(tmp_path, 'name: b, url: "redfish://u:${PASSWORD}@bmc"')).targets
    # an @ in the password is found by the last one
    assert (target.url.address, target.url.password) == ("bmc:443", Secret("p@ss"))
    assert "p@ss" not in f"{target!r} {target}"


def test_a_simulated_site_may_hold_plain_passwords(tmp_path: Path) -> None:
    head = "allow_plaintext_secrets: true\n"
    path = write(tmp_path, 'name: b, url: "redfish://u:hunter2@bmc"', f"{PDU}, password: hunter3", head=head)
    first, second = load(path).targets
    assert first.url.password == Secret("hunter2")
    assert second.password == Secret("hunter3")


def test_a_site_needs_a_name_and_little_else(tmp_path: Path) -> None:
    settings = load(write(tmp_path))
    assert settings.targets == ()
    assert settings.source
    assert set(settings.tags) == {"site", "source"}
