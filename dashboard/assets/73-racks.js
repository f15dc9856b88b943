// Every rack with its power, its bus, what its supplies leave free, and its heat against its power: a table that sorts.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, facility } = TokenWatt;
  const { column, number, chip, reach } = TokenWatt.grid;
  const { rules, known } = facility;
  const SHOWN_RATIO = 0.05; // fluid properties and sensors alone explain less
  const SOURCES = { power_shelf: "shelf", rack_pdu: "rack PDU", rack: "building" };
  const held = { node: null, api: null, body: null, alarms: null };

  // What it takes in its coolant against what it draws.
  facility.heat = function (rack) {
    const { liquid_watts: liquid, balance_ratio: balance } = rack.heat || {};
    return {
      liquid: liquid ?? null,
      share: known(liquid) && rack.watts > 0 ? liquid / rack.watts : null,
      balance: balance ?? null,
      priority: facility.priority(["heat_balance"], rack.name),
      notable: known(balance) && balance >= SHOWN_RATIO,
    };
  };

  // Racks are judged by the rules of their columns, as their alarms are.
  const judge = (...names) => ({ path }) => facility.priority(names, ...path.names);
  const balance = {
    ...number("balance", "Balance %", 98, "share", 0.01),
    headerTooltip: "|heat into liquid and air − power drawn| / power drawn; shown from 5 %, an alarm from 10 %",
    cellClass: ({ data }) => ["ag-right-aligned-cell", "figure", data.heat.priority ? `is-p${data.heat.priority}` : data.heat.notable ? "strong" : "none"],
  };
  const COLUMNS = [
    column("priority", "", 52, chip),
    column("name", "Rack", 80, { pinned: "left", cellClass: "strong", comparator: (a, b) => a.localeCompare(b, "en", { numeric: true }) }),
    column("feeds", "Feeds", 144),
    column("source", "Measured at", 104),
    number("watts", "Draws kW", 92, "kilowatts", 1e3),
    number("output_watts", "Gives kW", 90, "kilowatts", 1e3),
    number("usable_watts", "Usable kW", 98, "kilowatts", 1e3),
    number("p99_watts", "p99 kW", 78, "kilowatts", 1e3),
    number("headroom_ratio", "Headroom %", 108, "percent", 0.01, judge(...rules.headroom)),
    number("stranded_watts", "Stranded kW", 112, "kilowatts", 1e3),
    column("supplies", "Supplies", 104, { type: "rightAligned", headerTooltip: "how many work of those expected, needed for the load", cellClass: ({ data }) => ["ag-right-aligned-cell", "figure", facility.priority(rules.supplies, ...data.path.names) ? `is-p${facility.priority(rules.supplies, ...data.path.names)}` : ""] }),
    number("volts", "Bus V", 76, "volts", 1, judge(...rules.bus)),
    number("deviation", "Bus off %", 88, "percent", 0.01, judge(...rules.bus)),
    number("imbalance", "Uneven %", 90, "share", 0.01, judge(...rules.poles)),
    number("insulation", "kΩ/V", 76, "kiloohms", 1e3, judge(...rules.insulation)),
    number("efficiency", "Efficiency %", 104, "percent", 0.01, judge("rectifier_efficiency_low")),
    number("liquid", "Liquid kW", 92, "kilowatts", 1e3),
    number("share", "Liquid %", 84, "percent", 0.01),
    balance,
    number("age", "Age s", 68, "count", 1),
  ];

  const later = (age) => (known(age) ? age + Math.max(0, TokenWatt.now() - facility.body.time) : null);

  function row(path) {
    const { rack } = path;
    const bus = path.shelf?.bus;
    const heat = facility.heat(rack);
    const given = rack.shelves.map((shelf) => shelf.efficiency_ratio).filter(known);
    return {
      ...rack,
      id: rack.name,
      path,
      heat,
      headroom_ratio: path.headroom,
      priority: path.priority || heat.priority || 0,
      feeds: path.taps.map((feed) => feed.name).join(" + "),
      source: SOURCES[rack.source] || rack.source,
      supplies: rack.shelves.length ? `${facility.working(rack)}${known(rack.needed) ? `, ${rack.needed}` : ""}` : "",
      volts: bus?.volts ?? null,
      deviation: bus?.deviation_ratio ?? null,
      imbalance: bus?.imbalance_ratio ?? path.pdu?.imbalance_ratio ?? null,
      insulation: bus?.ohms_per_volt ?? null,
      efficiency: given.length ? Math.min(...given) : null,
      liquid: heat.liquid,
      share: heat.share,
      balance: heat.balance,
      age: later(rack.age ?? path.pdu?.age),
    };
  }

  function tellCount(body) {
    const unlike = body.racks.filter((rack) => facility.heat(rack).notable).length;
    const told = [`${TokenWatt.count(body.summary.racks_metered)} of ${facility.plural(body.racks.length, "rack")} metered`, unlike ? `${facility.plural(unlike, "heat balance")} off by over 5 %` : ""];
    document.querySelector(".racks .aside").textContent = told.filter(Boolean).join(" · ");
  }

  function toolbar(node) {
    const search = el("input", { type: "search", placeholder: "Filter racks", "aria-label": "Filter racks", autocomplete: "off", spellcheck: "false" });
    search.addEventListener("input", () => held.api?.setGridOption("quickFilterText", search.value));
    node.append(search, el("span", { class: "key" }, "A row opens its rack: its supplies, its bus, its heat"));
  }

  TokenWatt.widgets.racks = function (node, spec) {
    if (!node.firstChild) toolbar(node);
    reach(spec.table, held, COLUMNS, ({ name }) => facility.open(name));
    const { body } = facility;
    if (!held.api || !body || held.api.isDestroyed() || (held.body === body && held.alarms === facility.alarmsKey())) return;
    Object.assign(held, { body, alarms: facility.alarmsKey() });
    held.api.setGridOption("rowData", [...facility.paths().values()].map(row));
    tellCount(body);
  };
})();
