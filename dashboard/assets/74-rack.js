// One rack: a drawer beside the page with its bus, its heat and every supply; which one it is stands in the address.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, write, facility } = TokenWatt;
  const { fact, known, rules, inked } = facility;
  const option = (name) => TokenWatt.fabric.option(name);
  const setOptions = (options, step) => TokenWatt.fabric.setOptions(options, step);
  const STATE_PRIORITY = { failed: 2, lost: 2, off: 2, warning: 3, silent: 3 };
  const SHARED = ["share_error"];
  let from = null;

  facility.open = function (name) {
    const first = !option("rack");
    if (first) from = document.activeElement;
    setOptions({ rack: name }, first && "rack"); // the way back closes it
    TokenWatt.paint();
    document.querySelector(".drawer .title")?.focus({ preventScroll: true });
  };
  facility.close = function () {
    if (history.state?.step === "rack") {
      history.back();
      return;
    }
    setOptions({ rack: "" });
    TokenWatt.paint();
  };

  // What a rack's power and heat are, as names and values: here, and where the page has no room for its diagram.
  facility.rackFacts = function ({ rack, shelf, pdu, headroom, names }) {
    const heat = facility.heat(rack);
    const bus = shelf?.bus;
    return [
      fact("Draws", write("power", rack.watts), 0, rack.coverage < 1 ? `${TokenWatt.coverage(rack.coverage)} covered` : known(rack.output_watts) ? `gives ${write("power", rack.output_watts)}` : ""),
      rack.shelves.length ? fact("Supplies", facility.working(rack, " work"), facility.priority(rules.supplies, ...names), known(rack.needed) ? `${rack.needed} needed` : "") : null,
      fact("Headroom", facility.percent(headroom), facility.priority(rules.headroom, ...names), known(rack.usable_watts) ? `of ${write("power", rack.usable_watts)}` : known(headroom) ? "of its rating" : ""),
      bus ? fact("Bus", facility.volts(bus.volts), facility.priority(rules.bus, ...names), known(bus.deviation_ratio) ? `${facility.signed(bus.deviation_ratio, 1)} of ${facility.volts(bus.set_point_volts)}` : "no set point") : null,
      bus && known(bus.imbalance_ratio) ? fact("Poles", `${facility.volts(bus.positive_volts)}, ${facility.volts(bus.negative_volts)}`, facility.priority(rules.poles, ...names), `uneven by ${facility.percent(bus.imbalance_ratio, 2)}`) : null,
      pdu && known(pdu.imbalance_ratio) ? fact("Phases", `uneven by ${facility.percent(pdu.imbalance_ratio, 1)}`, facility.priority(rules.phases, ...names), pdu.lost.length ? `phase ${pdu.lost.join(", ")} lost` : "") : null,
      bus && known(bus.ohms_per_volt) ? fact("Insulation", bus.ground_fault ? "earth fault" : write("insulation", bus.ohms_per_volt), facility.priority(rules.insulation, ...names)) : null,
      known(rack.stranded_watts) ? fact("Stranded", write("power", rack.stranded_watts)) : null,
      known(rack.p99_watts) ? fact("p99 load", write("power", rack.p99_watts), 0, `over ${TokenWatt.duration(rack.p99_seconds)}`) : null,
      heat.liquid === null ? null : fact("Heat to liquid", write("power", heat.liquid), heat.priority, heat.balance === null ? "" : heat.notable ? `off by ${facility.percent(heat.balance, 1)}` : facility.percent(heat.share)),
      known(rack.age) ? fact("Seen", facility.since(rack.age, { "data-after": " ago" })) : null,
    ].filter(Boolean);
  };

  const section = (name, note, ...body) => el("section", {}, el("h3", {}, name, note ? el("small", {}, note) : null), ...body);

  function busFacts(shelf) {
    const { bus } = shelf;
    if (!bus) return null;
    const range = known(bus.min_volts) && known(bus.max_volts) ? `${facility.volts(bus.min_volts)} – ${facility.volts(bus.max_volts)}` : TokenWatt.NONE;
    const facts = [
      fact("Lowest, highest", range),
      fact("Ripple", write("ripple", bus.ripple_volts)),
      fact("Current", write("amperes", bus.amperes)),
      fact("Efficiency", facility.percent(shelf.efficiency_ratio, 1), facility.priority(["rectifier_efficiency_low"], shelf.name)),
    ];
    return el("dl", { class: "facts" }, facts);
  }

  // Each supply with its share of the load: the further from even, the sooner it is found.
  function supplies(shelf) {
    if (!shelf.supplies.length) return el("p", { class: "empty" }, "No supply of it tells of itself.");
    const at = facility.columns;
    const uneven = facility.priority(SHARED, shelf.name);
    const most = Math.max(...shelf.supplies.map((one) => Math.abs(one[at.share_error_ratio] ?? 0)));
    const rows = shelf.supplies.map((one) => {
      const cell = (name) => one[at[name]];
      const worst = uneven && Math.abs(cell("share_error_ratio") ?? 0) === most ? uneven : 0;
      return [
        cell("name"),
        inked(STATE_PRIORITY[cell("state")], cell("state")),
        cell("feed") || TokenWatt.NONE,
        write("power", cell("input_watts")),
        write("power", cell("output_watts")),
        write("amperes", cell("output_amperes")),
        inked(worst, facility.signed(cell("share_error_ratio"), 1)),
        facility.percent(cell("efficiency_ratio"), 1),
        facility.since(cell("age")),
      ];
    });
    const table = facility.table(`Supplies of ${shelf.name}`, ["Supply", "State", "Feed", "Takes", "Gives", "Current", "Off even share", "Efficiency", "Age"], rows, ["Supply", "State", "Feed"]);
    const never = shelf.unheard ? el("p", { class: "empty" }, `${facility.plural(shelf.unheard, "more supply", "more supplies")} of the inventory never answered`) : null;
    return [table, never].filter(Boolean);
  }

  function phases(pdu) {
    const rows = pdu.phases.map((phase) => [
      phase.name,
      inked(pdu.lost.includes(phase.name) ? facility.priority(rules.phases, pdu.name) || 2 : 0, facility.volts(phase.volts)),
      write("amperes", phase.amperes),
      write("power", phase.watts),
      write("amperes", phase.rated_amperes),
    ]);
    return section(pdu.name, `rack PDU, ${write("power", pdu.watts)}`, rows.length ? facility.table(`Phases of ${pdu.name}`, ["Phase", "Voltage", "Current", "Power", "Rated"], rows, ["Phase"]) : el("p", { class: "empty" }, "It tells of no phases."));
  }

  function doubts(path, body) {
    const own = (one) => path.names.includes(one.device) || one.rack === path.rack.name;
    const lines = [...facility.checkLines(body.checks.filter(own)), ...facility.refusedLines(body.refused.filter(own))];
    return lines.length ? section("Readings left out", "", el("ul", { class: "notes" }, lines)) : null;
  }

  function furnish(node) {
    node.setAttribute("role", "dialog");
    node.setAttribute("aria-labelledby", "rack-title");
    const close = el("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => facility.close());
    node.append(
      el("header", {}, el("div", { class: "title", tabindex: "-1", id: "rack-title" }), close),
      el("div", { class: "pane", tabindex: "0", role: "region", "aria-label": "Details of the rack" }),
    );
  }

  function heading(path, name) {
    if (!path) return [el("h2", {}, name), el("p", {}, "The inventory names no such rack.")];
    const alarm = facility.alarm(null, ...path.names);
    const said = alarm ? alarm.title : path.taps.length ? `on ${path.taps.map((feed) => feed.name).join(" and ")}` : "";
    return [alarm ? TokenWatt.chip(alarm.priority, alarm.ack ? "open" : "") : null, el("h2", {}, `Rack ${name}`, el("small", {}, path.rack.row ? `row ${path.rack.row}` : "")), el("p", { class: alarm ? `is-p${alarm.priority}` : null }, said)];
  }

  function content(path, body) {
    if (!path) return [];
    return [
      el("dl", { class: "facts" }, facility.rackFacts(path)),
      path.rack.shelves.map((shelf) => section(shelf.name, [(shelf.bus?.kind || "").replace("+/-", "±"), known(shelf.load_ratio) ? `${facility.percent(shelf.load_ratio)} loaded` : "", shelf.answers ? "" : "does not answer"].filter(Boolean).join(" · "), busFacts(shelf), supplies(shelf))),
      path.pdu ? phases(path.pdu) : null,
      doubts(path, body),
    ];
  }

  TokenWatt.widgets.rack = function (node, spec, live) {
    const name = option("rack");
    if (!node.firstChild) furnish(node);
    const open = node.dataset.open === "true";
    node.hidden = !name;
    node.dataset.open = String(Boolean(name));
    document.documentElement.dataset.drawer = String(Boolean(name));
    if (open && !name) restore();
    if (!name || !facility.body) return;
    const path = facility.paths().get(name);
    TokenWatt.redraw(node.querySelector(".title"), heading(path, name));
    facility.drawing(node.querySelector(".pane"), live, (body) => content(path, body), name);
  };
  function restore() {
    (from?.isConnected ? from : document.querySelector("[data-widget=power_path]"))?.focus({ preventScroll: true });
    from = null;
  }

  const chosen = (event) => (document.querySelector("main.facilities") ? event.target.closest?.("[data-rack]") : null);
  document.addEventListener("click", (event) => {
    const door = chosen(event);
    if (door) facility.open(door.dataset.rack);
  });
  document.addEventListener("keydown", (event) => {
    if (!document.querySelector("main.facilities") || event.metaKey || event.ctrlKey || event.altKey) return;
    const door = chosen(event);
    if (door && door.nodeName !== "BUTTON" && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      facility.open(door.dataset.rack);
    } else if (event.key === "Escape" && option("rack") && !(event.target.matches?.("input[type=search]") && event.target.value)) facility.close();
  });
})();
