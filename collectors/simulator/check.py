"""The demo's proof: what the dashboard shows against what the simulator really did, over HTTP alone.

One snapshot is compared. Each of its numbers names the window it speaks of and the truth is asked for that very window,
so nothing has to stand still. Tokens per joule and PUE are recomputed from true tokens and true joules. When faults are
planned, the totals over one window from before the first fault to after the last one are compared too, and the
findings that must show: each in its time and no other.
"""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from collectors.simulator.findings import EXPECTED as EXPECTED_FINDINGS
from collectors.simulator.findings import GRACE_SECONDS, Watch, falsifies

TOLERANCE = 0.01
#: of the totals over all faults: polls are answered some hundredths of a second after their time stamps, and SGLang
#: tells of its tokens once per log interval
TOTALS_TOLERANCE = 0.001
#: what no observer can see, by kind of fault: the energy of bare boards (95 W each and some noise) between the last
#: reading that was kept, up to 6 s old (5 s between polls, 1 s between the agent's looks), and the counter's reset.
#: So much may be missing besides, 0.1 % of five megajoules for the ten boards of the script `gpu`. Units: J
UNSEEN_JOULES = {"driver_reload": 8 * 100.0 * 6.0, "gpu_reset": 100.0 * 6.0}
#: totals that are compared, and what the truth calls them: totals are read by the final clock
TOTALS = {
    "output_tokens": "final_output_tokens",
    "input_tokens": "final_input_tokens",
    "gpu_board_joules": "gpu_board_joules",
}
#: time from when all is seen to the start of the totals' window, and from there to the first fault
EASE_SECONDS, LEAD_SECONDS = 5.0, 10.0
#: after the last fault that touches a number: the ramp that it ends with, and the longest live window, which ends up to
#: 20 s ago; power that is read each 10 s follows a ramp to half a percent only
CALM_SECONDS = 95.0
#: for so long faults are put off until the whole site is seen; then they are brought forward
HOLD_SECONDS = 3_600.0
#: how long faults may go on
FAULTS_SECONDS = 600.0
IDLE_STATES = frozenset({"parked", "reserved_idle", "unallocated_idle", "stalled"})
_POLL_SECONDS = 0.5
#: between two looks at the findings; the snapshot moves on every other second
LOOK_SECONDS = 1.0
#: coverage of a number that speaks of the whole site
WHOLE = 0.995

Truth = Mapping[str, float]


def _per_second(quantity: str) -> Callable[[Truth], float]:
    return lambda truth: truth[quantity] / truth["seconds"]


def _ratio(over: str, under: str) -> Callable[[Truth], float]:
    return lambda truth: truth[over] / truth[under]


def _feed_headroom(truth: Truth) -> float:
    """Return what is left of one feed's rating when it carries both. Units: W."""
    return truth["feed_rated_watts"] - (truth["feed_a_joules"] + truth["feed_b_joules"]) / truth["seconds"]


#: number of the snapshot -> what it should be
EXPECTED: Mapping[str, Callable[[Truth], float]] = {
    "output_tokens_per_second": _per_second("output_tokens"),
    "input_tokens_per_second": _per_second("input_tokens"),
    "gpu_board_watts": _per_second("gpu_board_joules"),
    "node_watts": _per_second("node_joules"),
    "rack_watts": _per_second("rack_joules"),
    "it_watts": _per_second("it_joules"),
    "facility_watts": _per_second("facility_joules"),
    "coolant_heat_watts": _per_second("coolant_heat_joules"),
    "tokens_per_joule_gpu_board": _ratio("output_tokens", "gpu_board_joules"),
    "tokens_per_joule_node": _ratio("output_tokens", "node_joules"),
    "tokens_per_joule_rack": _ratio("output_tokens", "rack_joules"),
    "tokens_per_joule_it": _ratio("output_tokens", "it_joules"),
    "tokens_per_joule_facility": _ratio("output_tokens", "facility_joules"),
    "pue": _ratio("facility_joules", "it_joules"),
    "liquid_heat_ratio": _ratio("coolant_heat_joules", "rack_joules"),
    "feed_headroom_watts": _feed_headroom,
}
#: withheld without harm where no device of the site measures at nodes
OPTIONAL = frozenset({"node_watts", "tokens_per_joule_node"})


class CheckError(Exception):
    """The dashboard or the simulator did not answer in time, or not as agreed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity: what was shown, what was true, how far apart, and whether that passes."""

    quantity: str
    shown: float | None
    truth: float | None
    #: relative, 0.01 is 1 %; None where there is nothing to divide
    error: float | None
    ok: bool
    note: str = ""


def check(
    dashboard: str,
    control: str,
    *,
    seconds: float,
    timeout_seconds: float = 120.0,
    settle_seconds: float = 120.0,
    calm_seconds: float = CALM_SECONDS,
    look_seconds: float = LOOK_SECONDS,
    patience: float = 1.0,
) -> tuple[list[Row], bool]:
    """Return a row per quantity and whether all pass, `seconds` after the dashboard speaks of the whole site.

    Thousands of devices take a while to be asked for the first time. One that never answers is no reason to wait longer
    than `settle_seconds`: it shows in the numbers. A number within 1 % passes, a required one that is withheld does
    not; the set of idle GPUs must be the same. Faults that are planned to end are put off until all are seen, and
    waited for, with `calm_seconds` after the last one that touches a number; then the totals must agree within 0.1 %,
    but for energy that nobody can see. Meanwhile the findings are looked at every `look_seconds`;
    they may take `patience` times as long as is promised.

    Raises:
        CheckError: no readiness within `timeout_seconds`, no answer, or an answer without the parts agreed.
    """
    faults = [fault for fault in _get(f"{control}/faults")["faults"] if fault["end"] is not None]
    if faults:
        _post(f"{control}/faults/delay", {"seconds": HOLD_SECONDS})
    _wait_ready(dashboard, timeout_seconds)
    _wait_covered(dashboard, settle_seconds)
    since = _let_begin(faults, dashboard, control) if faults else 0.0
    watch = Watch(_get(f"{dashboard}/api/v1/snapshot"), patience) if faults else None
    time.sleep(0.0 if watch else seconds)
    if watch is not None:
        _watch_faults(watch, dashboard, control, seconds, calm_seconds, look_seconds)
    snapshot = _get(f"{dashboard}/api/v1/snapshot")
    idle = _get(f"{control}/idle")
    try:
        numbers = snapshot["numbers"]
        rated = float(_get(f"{control}/ratings")["feed-a"])
        compared = (_compare(name, numbers.get(name), control, rated) for name in EXPECTED)
        rows = [row for row in compared if row is not None]
        rows.append(_compare_idle(snapshot["idle"]["gpus"], idle))
        if faults:
            unseen = sum(UNSEEN_JOULES.get(fault["kind"], 0.0) for fault in faults)
            rows += _compare_totals(dashboard, control, since, _known_until(dashboard), unseen)
        if watch is not None and any(fault["kind"] in EXPECTED_FINDINGS for fault in faults):
            rows += _compare_findings(watch)
    except (KeyError, TypeError) as error:
        raise CheckError(f"{dashboard}: not as agreed: {error!r}") from error
    return rows, all(row.ok for row in rows)


def _let_begin(faults: list[Mapping[str, Any]], dashboard: str, control: str) -> float:
    """Return from when on totals are compared (epoch seconds): each series has begun; the first fault comes later.

    A live number's window may begin before its youngest series: it fills such gaps in, totals do not.
    """
    try:
        since = float(_get(f"{dashboard}/api/v1/snapshot")["time"]) + EASE_SECONDS
    except (KeyError, TypeError) as error:
        raise CheckError(f"{dashboard}/api/v1/snapshot: does not say its time: {error!r}") from error
    planned = min(fault["start"] for fault in faults) + HOLD_SECONDS
    _post(f"{control}/faults/delay", {"seconds": since + LEAD_SECONDS - planned})
    return since


def _watch_faults(
    watch: Watch, dashboard: str, control: str, seconds: float, calm_seconds: float, look_seconds: float
) -> None:
    """Look at the findings until the faults are over and their traces are gone from the numbers.

    The engines that load anew are waited for too. The last fault leaves findings the time in which they may still come.
    """
    begun = time.monotonic()
    touched = known = begun
    while True:
        faults = _get(f"{control}/faults")["faults"]
        watch.look(_get(f"{dashboard}/api/v1/snapshot"), faults)
        now = time.monotonic()
        ending = [fault for fault in faults if fault["end"] is not None]
        known = now if ending else known
        touched = now if any(falsifies(fault["kind"]) for fault in ending) else touched
        calm_until = max(touched + calm_seconds, known + min(calm_seconds, GRACE_SECONDS), begun + seconds)
        if not ending and now >= calm_until:
            return
        if ending and now > begun + FAULTS_SECONDS:
            raise CheckError(f"{control}/faults: not over within {FAULTS_SECONDS:.0f} s")
        time.sleep(look_seconds)


def _compare_findings(watch: Watch) -> list[Row]:
    """Return a row per fault that must be seen, and one for the findings that belong to none."""
    rows = [
        Row(
            f"finding {seen.kind} on {seen.object}",
            seen.seconds,
            seen.limit,
            None,
            seen.seconds is not None and seen.seconds <= seen.limit,
            seen.what,
        )
        for seen in watch.seen()
    ]
    others = watch.strangers
    return [*rows, Row("no other findings", float(len(others)), 0.0, None, not others, "; ".join(others))]


def _known_until(dashboard: str) -> float:
    """Return up to when the dashboard knows all tokens and all boards. Units: epoch seconds."""
    numbers = _get(f"{dashboard}/api/v1/snapshot").get("numbers", {})
    known = [numbers.get(name) or {} for name in ("output_tokens_per_second", "gpu_board_watts")]
    try:
        return min(float(number["to"]) for number in known)
    except (KeyError, TypeError) as error:
        raise CheckError(f"{dashboard}/api/v1/snapshot: tokens or boards speak of no window: {known}") from error


def _compare_totals(dashboard: str, control: str, since: float, until: float, unseen: float) -> list[Row]:
    """Return the rows of the totals over that window (epoch seconds), in which `unseen` joules may be missing."""
    window = urllib.parse.urlencode({"start": since, "end": until})
    shown, truth = _get(f"{dashboard}/api/v1/totals?{window}"), _get(f"{control}/truth?{window}")
    note = f"{until - since:.0f} s, {shown['resets']} resets"
    rows = []
    for name, true in TOTALS.items():
        missing, most = truth[true] - shown[name], TOTALS_TOLERANCE * truth[true]
        ok = -most <= missing <= most + (unseen if true == "gpu_board_joules" else 0.0) and truth[true] > 0
        error = abs(missing) / truth[true] if truth[true] else None
        rows.append(Row(f"total_{name}", shown[name], truth[true], error, ok, note))
    return rows


def _compare(name: str, number: Mapping[str, Any] | None, control: str, feed_watts: float) -> Row | None:
    """Return the row of one number, or None for an optional one that nobody measures; `feed_watts` rates a feed."""
    number = number or {"why": "not in the snapshot"}
    shown = number.get("value")
    if shown is None:
        note = f"withheld: {number.get('why') or 'no reason given'}"
        return None if name in OPTIONAL else Row(name, None, None, None, False, note)
    window = urllib.parse.urlencode({"start": number["from"], "end": number["to"]})
    truth = EXPECTED[name](_get(f"{control}/truth?{window}") | {"feed_rated_watts": feed_watts})
    error = abs(shown - truth) / abs(truth) if truth else None
    ok = shown == truth if error is None else error <= TOLERANCE
    return Row(name, shown, truth, error, ok, f"{number['to'] - number['from']:.0f} s")


def _compare_idle(shown: list[Mapping[str, Any]], true: list[Mapping[str, Any]]) -> Row:
    """Return the row of the idle GPUs: the same UUIDs, whatever the order."""
    seen = {item["gpu"] for item in shown if item["state"] in IDLE_STATES}
    real = {item["gpu"] for item in true}
    parts = [
        f"{word}: {', '.join(sorted(gpus))}"
        for word, gpus in (("missing", real - seen), ("extra", seen - real))
        if gpus
    ]
    error = len(seen ^ real) / len(real) if real else None
    return Row("idle_gpus", float(len(seen)), float(len(real)), error, not parts, "; ".join(parts) or "same GPUs")


def _wait_ready(dashboard: str, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            with urllib.request.urlopen(f"{dashboard}/readyz", timeout=5.0):
                return
        except urllib.error.HTTPError as error:
            reason = f"status {error.code}: {error.read(300).decode(errors='replace')!r}"
            error.close()
        except (OSError, urllib.error.URLError) as error:
            reason = str(error)
        if time.monotonic() > deadline:
            raise CheckError(f"{dashboard}/readyz: not ready within {timeout_seconds:.0f} s: {reason}")
        time.sleep(_POLL_SECONDS)


def _wait_covered(dashboard: str, settle_seconds: float) -> None:
    """Wait until every number speaks of the whole site, but no longer than `settle_seconds`."""
    deadline = time.monotonic() + settle_seconds
    while time.monotonic() < deadline:
        numbers = _get(f"{dashboard}/api/v1/snapshot").get("numbers", {})
        needed = (numbers.get(name, {}) for name in EXPECTED.keys() - OPTIONAL)
        if all(number.get("value") is not None and number["coverage"] > WHOLE for number in needed):
            return
        time.sleep(_POLL_SECONDS)


def _get(url: str) -> Any:
    """Return the JSON that a GET gives."""
    return _ask(urllib.request.Request(url))


def _post(url: str, body: Mapping[str, Any]) -> Any:
    return _ask(urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}))


def _ask(request: urllib.request.Request) -> Any:
    url = request.full_url
    try:
        with urllib.request.urlopen(request, timeout=10.0) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise CheckError(f"{url}: status {error.code}: {error.read(300).decode(errors='replace')!r}") from error
    except (OSError, ValueError) as error:
        raise CheckError(f"{url}: {error}") from error
