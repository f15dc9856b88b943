// The live client: one request for the snapshot per tick, one for the history every 20 s, and how old all of it is.
// The payload stays in a plain variable: what passes through a Dash Input is kept for ever in its undo history.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const root = document.documentElement;
  const HISTORY_SECONDS = 20;
  const TIMEOUT_MS = 1500;
  const STALE_PERIODS = 3;
  const DATA_STALE_SECONDS = 20; // three times the slowest poll
  const LOST_SECONDS = 60;
  const TRAIL_POINTS = 300;

  const live = (TokenWatt.live = { snapshot: null, history: null, cells: null, trail: {} });
  TokenWatt.feed = (url, timeout) => ({ url, timeout: timeout || TIMEOUT_MS, etag: null, at: null, busy: false, status: 0 });
  const feeds = { snapshot: TokenWatt.feed("/api/v1/snapshot"), history: TokenWatt.feed("/api/v1/history") };
  // Epoch seconds by the server's clock when the browser's monotonic clock began.
  let serverStart = null;

  const seconds = () => performance.now() / 1000;
  const period = () => (live.snapshot ? live.snapshot.tick_seconds : 2);
  // Epoch seconds by the server's clock; a browser whose own clock is wrong shows the right ages.
  TokenWatt.now = () => (serverStart === null ? Date.now() / 1000 : serverStart + seconds());

  // A Date header has whole seconds, rounded down: the greatest guess is the nearest, until the server's clock is set.
  function noteClock(response) {
    const date = Date.parse(response.headers.get("Date") || "") / 1000;
    const guess = date - seconds();
    if (!Number.isFinite(guess)) return;
    if (serverStart === null || guess > serverStart || guess < serverStart - 2) serverStart = guess;
  }

  // Returns the new body, or null when nothing came or nothing is new.
  const ask = (TokenWatt.ask = async function (feed) {
    if (feed.busy) return null;
    feed.busy = true;
    try {
      const headers = feed.etag ? { "If-None-Match": feed.etag } : {};
      const response = await fetch(feed.url, { headers, cache: "no-store", signal: AbortSignal.timeout(feed.timeout) });
      feed.status = response.status;
      if (response.status !== 200 && response.status !== 304) return null;
      const body = response.status === 200 ? await response.json() : null;
      noteClock(response);
      feed.at = seconds();
      feed.etag = response.headers.get("ETag") || feed.etag;
      return body;
    } catch {
      return null; // no answer in time: the age that is shown says so
    } finally {
      feed.busy = false;
    }
  });

  // The trend of numbers that the history does not keep: the last ten minutes that this page has seen.
  function remember(numbers) {
    for (const [name, number] of Object.entries(numbers)) {
      const trail = (live.trail[name] ??= []);
      trail.push(TokenWatt.read(number).value ?? null);
      if (trail.length > TRAIL_POINTS) trail.shift();
    }
  }

  async function refreshSnapshot() {
    const body = await ask(feeds.snapshot);
    if (!body) return;
    if (live.snapshot && live.snapshot.build !== body.build) {
      location.reload();
      return;
    }
    live.snapshot = body;
    live.cells = TokenWatt.decodeCells(body.cells);
    remember(body.numbers);
    TokenWatt.announce(body.alarms);
    TokenWatt.paint();
  }

  async function refreshHistory() {
    const body = await ask(feeds.history);
    if (!body) return;
    live.history = body;
    TokenWatt.paint();
  }

  // Ages in seconds: since an answer came, since the server made the snapshot, since the newest data in it.
  function ages() {
    if (!live.snapshot) return null;
    const now = TokenWatt.now();
    return {
      link: seconds() - feeds.snapshot.at,
      producer: Math.max(0, now - live.snapshot.time),
      data: live.snapshot.data_time ? Math.max(0, now - live.snapshot.data_time) : null,
    };
  }

  // live, stale or lost; a server that answers while its collectors are dead is not live.
  function freshness() {
    const age = ages();
    if (!age || age.data === null) return { state: "connecting", age: 0, from: null };
    const worst = Math.max(age.link, age.producer, age.data);
    const late = Math.max(age.link, age.producer) > STALE_PERIODS * period() || age.data > DATA_STALE_SECONDS;
    return { state: worst > LOST_SECONDS ? "lost" : late ? "stale" : "live", age: worst, from: live.snapshot.data_time };
  }

  // A page with a feed of its own is as old as the older of the two.
  const RANK = { live: 0, connecting: 1, stale: 2, lost: 3 };
  function shownFreshness() {
    const own = TokenWatt.fabric.freshness() || TokenWatt.facility.freshness();
    const all = freshness();
    return own && RANK[own.state] > RANK[all.state] ? own : all;
  }

  const WORDS = {
    connecting: () => (live.snapshot ? "Waiting for data" : "Connecting"),
    live: () => "Live",
    stale: (age) => `Stale ${Math.round(age)} s`,
    lost: (age) => `No data for ${Math.round(age)} s`,
  };

  function lostText(age, from) {
    const simulated = live.snapshot.synthetic ? " Simulated data." : "";
    return `No data for ${Math.round(age)} s. Values are from ${TokenWatt.clock(from)} UTC.${simulated}`;
  }

  const set = TokenWatt.setText;

  function tellFreshness() {
    const { state, age, from } = shownFreshness();
    if (state === "lost" && root.dataset.live !== "lost") set(document.getElementById("say-now"), lostText(age, from));
    root.dataset.live = state;
    document.querySelectorAll(".freshness").forEach((node) => {
      node.dataset.state = state;
      set(node.querySelector(".word"), WORDS[state](age));
      const full = Math.min(1, feeds.snapshot.at === null ? 0 : (seconds() - feeds.snapshot.at) / period());
      node.querySelector(".fills")?.setAttribute("stroke-dashoffset", String(44 * (1 - full)));
    });
    document.querySelectorAll(".clock b").forEach((node) => set(node, live.snapshot ? TokenWatt.clock(TokenWatt.now()) : ""));
    const band = document.getElementById("lost");
    if (band) {
      TokenWatt.setHidden(band, state !== "lost");
      if (state === "lost") set(band, lostText(age, from));
    }
    TokenWatt.tellAges();
  }

  // Each request starts when the one before has ended; the first after a random share of the period, so that the
  // panels of a wall do not ask in the same millisecond.
  function every(milliseconds, refresh, wait) {
    setTimeout(async () => {
      const began = performance.now();
      await refresh();
      every(milliseconds, refresh, Math.max(0, milliseconds() - (performance.now() - began)));
    }, wait);
  }

  TokenWatt.startLive = function () {
    refreshSnapshot().then(refreshHistory);
    every(() => period() * 1000, refreshSnapshot, period() * 1000 * (0.5 + Math.random()));
    every(() => (live.history ? HISTORY_SECONDS : period()) * 1000, refreshHistory, HISTORY_SECONDS * 1000 * (0.5 + Math.random() / 2));
    setInterval(tellFreshness, 250);
    for (const event of ["visibilitychange", "focus", "online"]) {
      (event === "visibilitychange" ? document : window).addEventListener(event, () => {
        if (!document.hidden) refreshSnapshot().then(tellFreshness);
      });
    }
    tellFreshness();
  };
})();
