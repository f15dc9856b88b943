// One port: a drawer beside the page, whose port stands in the address. It asks for its own answer while it is open.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, svg, fabric, write, count } = TokenWatt;
  const PERIOD_SECONDS = 10;
  const TIMEOUT_MS = 8000;
  const STATES = { ok: "up", down: "down", admin_down: "admin down", unknown: "unknown", stale: "stale" };
  const EVENT_PRIORITY = { 1: 3, 2: 2, 3: 1 };
  const shown = { address: "", feed: null, body: null, asked: -Infinity, missing: "", from: null };

  fabric.portAddress = (name, port) => `/api/v1/fabric/port?device=${encodeURIComponent(name)}&interface=${encodeURIComponent(port)}`;

  fabric.open = function (name, port) {
    const first = !shown.address;
    if (first) shown.from = document.activeElement;
    fabric.setOptions({ switch: name, port }, first && "port"); // the way back closes it
    TokenWatt.paint();
    document.querySelector(".drawer .title")?.focus({ preventScroll: true });
  };
  fabric.close = function () {
    if (history.state?.step === "port") {
      history.back();
      return;
    }
    fabric.setOptions({ switch: "", port: "" });
    TokenWatt.paint();
  };
  function restore() {
    (shown.from?.isConnected ? shown.from : document.querySelector("[data-widget=ports]"))?.focus({ preventScroll: true });
    shown.from = null;
  }

  async function refresh() {
    const { feed } = shown;
    shown.asked = performance.now() / 1000;
    const body = await TokenWatt.ask(feed);
    if (feed !== shown.feed) return;
    if (body) shown.body = body;
    shown.missing = feed.status === 404 ? "Nobody tells of this port." : shown.body ? "" : "No answer yet.";
    TokenWatt.paint();
  }
  setInterval(() => {
    if (shown.feed && !document.hidden && performance.now() / 1000 - shown.asked >= PERIOD_SECONDS) refresh();
  }, 500);

  const fact = (name, text, more) => el("div", { class: "fact" }, el("dt", {}, name), el("dd", more || {}, text));
  const section = (name, note, ...body) => el("section", {}, el("h3", {}, name, note ? el("small", {}, note) : null), ...body);
  const head = (names) => el("thead", {}, el("tr", {}, names.map((name, i) => el("th", { scope: "col", class: i ? "right" : null }, name))));
  const row = (first, cells) => el("tr", {}, el("th", { scope: "row" }, first), cells.map((cell) => (cell instanceof Node && cell.tagName === "TD" ? cell : el("td", { class: "right" }, cell))));
  const table = (names, rows) => el("div", { class: "wide-table" }, el("table", { class: "table" }, head(names), el("tbody", {}, rows)));
  const known = (value) => value !== null && value !== undefined;
  const metric = (name) => fabric.body?.metrics.find((one) => one.name === name);
  const inked = (name, value, text) => {
    const priority = metric(name) ? fabric.judge(metric(name), value) : 0;
    return el("td", { class: `right${priority ? ` is-p${priority}` : ""}` }, text);
  };

  function facts(port) {
    const far = [port.neighbor, port.neighbor_interface].filter(Boolean).join(" ");
    const source = known(port.pause_ratio) && port.pause_source ? el("small", {}, port.pause_source === "bound" ? "upper bound" : port.pause_source) : "";
    const judged = (name) => ({ class: metric(name) && fabric.judge(metric(name), port[name]) ? `is-p${fabric.judge(metric(name), port[name])}` : null });
    return el(
      "dl",
      { class: "facts" },
      fact("Neighbour", far || "not told"),
      fact("Speed", write("bits", port.speed_bits_per_second)),
      fact("Receives", write("bits", port.rx_bits_per_second)),
      fact("Sends", write("bits", port.tx_bits_per_second)),
      fact("Used", write("percent", port.utilization), judged("utilization")),
      fact("Pause", [write("share", port.pause_ratio), source], judged("pause_ratio")),
      fact("ECN marked", write("share", port.ecn_ratio), judged("ecn_ratio")),
      fact("Discards", write("ppm", port.discard_ppm), judged("discard_ppm")),
      fact("Errors", write("ppm", port.error_ppm), judged("error_ppm")),
      fact("Flaps", write("per_hour", port.flaps_per_hour), judged("flaps_per_hour")),
    );
  }

  // As on the floor: grey while at work, coloured where it earns nothing.
  const IDLE = ["parked", "reserved", "stalled"];
  const GPU_LOOK = { throttled: "p3", lost: "p1", free: "outline", "no data": "hatch", no_data: "hatch" };
  function gpus(list) {
    const shades = TokenWatt.ramp(TokenWatt.colours(), 2.2);
    const cells = list.map((gpu, i) => {
      const look = IDLE.includes(gpu.state) ? "p2" : GPU_LOOK[gpu.state];
      const busy = known(gpu.busy) ? Math.round(gpu.busy * 100) : null;
      const cell = el("li", { class: `gpu ${look || ""}`, title: [gpu.gpu, gpu.rack, gpu.reason].filter(Boolean).join(" · ") }, el("small", {}, String(i)), el("b", {}, busy === null ? TokenWatt.NONE : `${busy} %`), el("span", {}, gpu.state.replaceAll("_", " ")));
      if (!look && busy !== null) Object.assign(cell.style, { background: shades[busy].fill, color: shades[busy].ink });
      return cell;
    });
    const hosts = [...new Set(list.map((gpu) => gpu.host))].join(", ");
    return section("GPUs behind it", hosts, list.length ? el("ul", { class: "gpus" }, cells) : el("p", { class: "empty" }, "No GPU host is known at the other end."));
  }

  // The margin from 3 dB below the low alarm to 9 dB above it; the mark is the alarm.
  function marginBar(lane) {
    if (!known(lane.margin_db)) return el("td", { class: "right" }, TokenWatt.NONE);
    const priority = metric("optics_margin_db") ? fabric.judge(metric("optics_margin_db"), lane.margin_db) : 0;
    const at = (db) => ((Math.max(-3, Math.min(9, db)) + 3) / 12) * 100;
    const [from, to] = [Math.min(at(0), at(lane.margin_db)), Math.max(at(0), at(lane.margin_db))];
    const picture = svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { class: `share${priority ? ` p${priority}` : ""}`, x: from, width: Math.max(0.5, to - from), height: 10 }), svg("rect", { class: "mark", x: at(0) - 0.4, width: 0.8, height: 10 }));
    return el("td", { class: "margin" }, el("span", { class: "track" }, picture), el("span", { class: priority ? `is-p${priority}` : null }, write("decibels", lane.margin_db)), priority ? TokenWatt.chip(priority) : null);
  }

  function optics({ lanes, module }) {
    const words = [module?.model, known(module?.temperature_celsius) ? write("celsius", module.temperature_celsius) : "", known(module?.voltage_volts) ? `${module.voltage_volts.toFixed(2)} V` : "", module?.serial ? `serial ${module.serial}` : ""];
    if (!lanes.length) return section("Optics", words.filter(Boolean).join(" · "), el("p", { class: "empty" }, "No lane tells of its power: copper, or not collected."));
    const rows = lanes.map((lane) => row(`Lane ${lane.lane}`, [lane.dark ? el("td", { class: "right is-p2" }, "dark") : write("dbm", lane.rx_power_dbm), write("dbm", lane.tx_power_dbm), write("milliamperes", lane.bias_amperes), marginBar(lane)]));
    return section("Optics", words.filter(Boolean).join(" · "), table(["", "Receives", "Sends", "Bias", "Above its low alarm"], rows));
  }

  function priorities(list) {
    if (!list.length) return null;
    const rows = list.map((one) => {
      const storm = one.stormed ? el("td", { class: "right is-p1" }, TokenWatt.chip(1), " stormed") : el("td", { class: "right" }, known(one.storms) ? count(one.storms) : TokenWatt.NONE);
      return row(one.priority, [write("packets", one.rx_frames_per_second), write("packets", one.tx_frames_per_second), inked("pause_ratio", one.pause_ratio, [write("share", one.pause_ratio), known(one.pause_ratio) && one.pause_source ? el("sup", { class: "source-mark", title: one.pause_source }, one.pause_source[0]) : ""]), storm]);
    });
    return section("Priorities", "PFC frames; pause m measured, e estimated, b upper bound", table(["Priority", "Paused by peer", "Pauses peer", "Pause", "Storms"], rows));
  }

  function queues(list) {
    if (!list.length) return null;
    const rows = list.map((one) => row(one.queue, [write("bits", known(one.bytes_per_second) ? one.bytes_per_second * 8 : null), write("packets", one.dropped_per_second), inked("ecn_ratio", one.ecn_ratio, write("share", one.ecn_ratio)), write("bytes", one.watermark_bytes)]));
    return section("Queues", "", table(["Queue", "Sends", "Drops", "ECN marked", "Watermark"], rows));
  }

  function fec(one) {
    if (!one || Object.values(one).every((value) => !known(value) || value === "")) return null;
    const judged = metric("pre_fec_ber") ? fabric.judge(metric("pre_fec_ber"), one.pre_ber) : 0;
    return section(
      "Forward error correction",
      one.pre_ber_source ? `bit error ratio ${one.pre_ber_source}` : "",
      el(
        "dl",
        { class: "facts" },
        fact("Pre-FEC BER", write("ber", one.pre_ber), { class: judged ? `is-p${judged}` : null }),
        fact("Corrected", write("packets", one.corrected_per_second)),
        fact("Uncorrected", known(one.uncorrected_total) ? count(one.uncorrected_total) : TokenWatt.NONE, { class: one.uncorrected_total > 0 ? "is-p2" : null }),
        fact("Most symbols", known(one.max_symbols) ? count(one.max_symbols) : TokenWatt.NONE),
      ),
    );
  }

  function events(list) {
    const rows = list.map((event) => {
      const priority = EVENT_PRIORITY[event.severity];
      return el("li", {}, el("time", {}, TokenWatt.clock(event.time)), priority ? TokenWatt.chip(priority, "open") : el("span", {}), el("span", {}, event.text || event.kind), el("small", { "data-since": event.time, "data-after": " ago" }));
    });
    return section("Last events", "UTC", rows.length ? el("ul", { class: "events" }, rows) : el("p", { class: "empty" }, "None is known."));
  }

  function furnish(node, spec) {
    node.setAttribute("role", "dialog");
    const close = el("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
    close.addEventListener("click", fabric.close);
    const charts = spec.charts.map((chart) => el("section", { class: `chart-room ${chart.form}` }, el("h3", {}, chart.title, el("small")), el("div", { class: "body", role: "img" })));
    node.append(
      el("header", {}, el("div", { class: "title", tabindex: "-1", id: "port-title" }), close),
      el("div", { class: "pane", tabindex: "0", role: "region", "aria-label": "Details of the port" }, el("div", { class: "top" }), el("div", { class: "charts" }, charts), el("div", { class: "rest" })),
    );
    node.setAttribute("aria-labelledby", "port-title");
  }

  function heading(name, interfaceName, port) {
    const [priority, state] = port ? [port.priority, port.state] : [0, ""];
    const small = [port?.alias !== interfaceName ? port?.alias : "", port?.rack].filter(Boolean).join(" · ");
    const said = port ? (priority && port.reason ? [state === "down" ? "" : STATES[state] || state, port.reason].filter(Boolean).join(", ") : STATES[state] || state) : "";
    return [priority ? TokenWatt.chip(priority) : null, el("h2", {}, `${name} ${interfaceName}`, el("small", {}, small)), el("p", { class: priority ? `is-p${priority}` : null }, said, port && known(port.age) ? el("small", {}, `seen ${TokenWatt.duration(port.age)} before`) : null)].filter(Boolean);
  }

  const series = (told) => ({ time: told.start, start: told.start, step: told.step, series: told });
  function drawCharts(node, spec, body) {
    const history = { ...series(body.series), time: `${body.port.switch}${body.port.interface}${body.series.start}${(body.series[spec.charts[0].lines[0].series] || []).length}` };
    node.querySelectorAll(".chart-room").forEach((room, i) => {
      const drawable = spec.charts[i].lines.some((line) => (body.series[line.series] || []).some(known));
      room.dataset.empty = String(!drawable);
      TokenWatt.drawChart(room.lastChild, spec.charts[i], { history, snapshot: TokenWatt.live.snapshot }, room.querySelector("small"));
    });
  }

  function fill(node, spec, body) {
    const [top, , rest] = node.querySelector(".pane").children;
    node.querySelector(".charts").hidden = !body;
    TokenWatt.refill(top, body ? JSON.stringify([Boolean(fabric.body), body.port, body.gpus, document.documentElement.dataset.theme]) : shown.missing, () => (body ? [facts(body.port), gpus(body.gpus || [])] : el("p", { class: "empty" }, shown.missing)));
    TokenWatt.refill(rest, body ? JSON.stringify([Boolean(fabric.body), body.lanes, body.module, body.priorities, body.queues, body.fec, body.events]) : "", () => (body ? [optics(body), priorities(body.priorities || []), queues(body.queues || []), fec(body.fec), events(body.events || [])].filter(Boolean) : el("span", {})));
    if (body) drawCharts(node, spec, body);
    TokenWatt.tellAges();
  }

  TokenWatt.widgets.port = function (node, spec) {
    const [name, port] = [fabric.option("switch"), fabric.option("port")];
    if (!node.firstChild) furnish(node, spec);
    const open = node.dataset.open === "true";
    node.hidden = !name || !port;
    node.dataset.open = String(!node.hidden);
    document.documentElement.dataset.drawer = String(!node.hidden);
    const address = node.hidden ? "" : fabric.portAddress(name, port);
    if (address !== shown.address) {
      Object.assign(shown, { address, feed: address ? TokenWatt.feed(address, TIMEOUT_MS) : null, body: null, missing: "Asking for this port" });
      node.querySelector(".pane").scrollTop = 0;
      if (address) refresh();
      else if (open) restore();
    }
    if (node.hidden) return;
    const listed = shown.body?.port || fabric.ports.get(fabric.key(name, port));
    const title = node.querySelector(".title");
    TokenWatt.refill(title, JSON.stringify([name, port, listed?.state, listed?.priority, listed?.reason, Math.round(listed?.age ?? -1)]), () => heading(name, port, listed));
    fill(node, spec, shown.body);
  };

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !shown.address || !document.querySelector("main.fabric")) return;
    if (event.target.matches?.("input[type=search]") && event.target.value) return; // it empties the field first
    fabric.close();
  });
})();
