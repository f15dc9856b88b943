// The power path as a one-line diagram: feeds with their load, a line per rack with its rectifiers, its bus, its headroom.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, svg, write, facility } = TokenWatt;
  const { text, box, flag, value } = TokenWatt.drawing;
  const WIDTH = 1180;
  const HEAD = 34;
  const PITCH = 60;
  const LEAST_ROWS = 3;
  const FEED_HEIGHT = 74;
  const BARS = [232, 248];
  const known = facility.known;

  const RULES = {
    bus: ["bus_voltage"],
    poles: ["bus_pole_imbalance"],
    insulation: ["insulation_low"],
    headroom: ["bus_headroom_low"],
    supplies: ["supply_lost", "psu_failed", "shelf_redundancy_lost"],
    feed: ["feed_lost"],
    failover: ["feed_failover_overload"],
    phases: ["phase_lost", "ac_imbalance", "ac_phase_overload", "ac_overload"],
  };
  const OTHERS = ["share_error", "rectifier_efficiency_low", "part_silent", "value_implausible", "device_silent"];
  const ALL = [...Object.values(RULES).flat(), ...OTHERS];
  const ink = (priority) => (priority ? `ink-p${priority}` : "");

  // A rack as its power sees it: the shelf with the gravest bus, or the rack PDU where it has no shelf.
  function path(rack, feeds, pdus) {
    const shelf = rack.shelves.reduce((worst, one) => (!worst || severity(one) < severity(worst) ? one : worst), null);
    const own = shelf ? [] : pdus.get(rack.name) || [];
    const parts = [...rack.shelves, ...own].map((one) => one.name);
    const taps = [...new Set(parts.flatMap((part) => feeds.get(part) || []))];
    const pdu = own[0] || null;
    // A rack without a bus has what its PDU has left of its rating.
    const headroom = rack.headroom_ratio ?? (known(pdu?.load_ratio) ? 1 - pdu.load_ratio : null);
    return { rack, shelf, pdu, taps, headroom, names: [rack.name, ...parts], priority: facility.priority(ALL, rack.name, ...parts) };
  }

  // All racks so, once for what has come: rack -> its path, in the order of the inventory.
  const made = { body: null, alarms: null, paths: new Map() };
  facility.paths = function () {
    const { body } = facility;
    const alarms = facility.alarmsKey();
    if (made.body === body && made.alarms === alarms) return made.paths;
    const [feeds, pdus] = [new Map(), new Map()];
    const add = (map, key, value) => (map.has(key) ? map.get(key).push(value) : map.set(key, [value]));
    for (const feed of body.feeds) for (const part of feed.parts) add(feeds, part, feed);
    for (const one of body.ac) if (one.kind === "rack_pdu") add(pdus, one.rack, one);
    Object.assign(made, { body, alarms, paths: new Map(body.racks.map((rack) => [rack.name, path(rack, feeds, pdus)])) });
    return made.paths;
  };
  // How many supplies work: of a shelf that tells nothing nobody knows.
  facility.working = function ({ shelves, running }, after) {
    const told = shelves.filter((shelf) => shelf.answers);
    const quiet = shelves.length - told.length;
    if (!told.length) return "silent";
    const expected = shelves.reduce((sum, shelf) => sum + shelf.expected, 0);
    return `${running} of ${expected}${after || ""}${quiet ? `, ${facility.plural(quiet, "shelf", "shelves")} silent` : ""}`;
  };
  const severity = (shelf) => facility.priority(ALL, shelf.name) || 9;
  facility.rules = RULES;

  // In the order of the inventory while all fit; else the gravest, then those with the least headroom.
  function chosen(paths, most) {
    if (paths.length <= most) return paths;
    const room = ({ rack }) => rack.headroom_ratio ?? 2;
    return [...paths].sort((a, b) => (a.priority || 9) - (b.priority || 9) || room(a) - room(b)).slice(0, most);
  }

  function bar(x, y, width, ratio, mark, priority) {
    const share = Math.max(0, Math.min(1, ratio || 0));
    return [
      svg("rect", { class: "track", x, y, width, height: 6 }),
      known(ratio) ? svg("rect", { class: priority ? `share ${ink(priority)}` : "share", x, y, width: share * width, height: 6 }) : null,
      known(mark) ? svg("rect", { class: "mark", x: x + mark * width - 0.75, y: y - 2, width: 1.5, height: 10 }) : null,
    ];
  }

  function feedBox(feed, y, at) {
    const priority = facility.priority(RULES.feed, feed.name);
    const lost = feed.lost ? "lost" : known(feed.watts) ? "" : "no data";
    return svg("g", { class: feed.lost || !known(feed.watts) ? "silent" : "" },
      box(16, y, 176, FEED_HEIGHT - 10, priority ? `abnormal p${priority}` : ""),
      text(28, y + 20, feed.name, "heading"),
      svg("text", { x: 180, y: y + 20, class: "unit", "text-anchor": "end", ...(lost || !known(feed.age) ? {} : { "data-since": facility.body.time - feed.age }) }, lost),
      value(28, y + 43, "power", feed.watts, ink(priority)),
      text(180, y + 43, known(feed.rated_watts) ? `of ${write("power", feed.rated_watts)}` : "", "unit", "end"),
      bar(28, y + 52, 152, feed.load_ratio, null, priority),
      at === undefined ? null : svg("path", { class: `wire ${feed.lost ? "dead" : ""}`, d: `M192 ${y + 24}H${BARS[at]}` }),
      flag(priority, 192, y),
    );
  }

  function failover(group, y) {
    const priority = facility.priority(RULES.failover, group.feeds.join(" + "));
    const limit = facility.limit("feed_failover_overload");
    const room = !known(group.headroom_watts) ? "not known: a feed tells nothing" : group.headroom_watts < 0 ? `${write("power", -group.headroom_watts)} too much` : `${write("power", group.headroom_watts)} left`;
    return [
      text(16, y + 14, "With one feed lost", "label"),
      svg("text", { x: 16, y: y + 35, class: `value ${ink(priority)}` }, facility.percent(group.ratio), svg("tspan", { class: "unit", dx: 5 }, known(group.rated_watts) ? `of ${write("power", group.rated_watts)}` : "")),
      bar(16, y + 44, 176, group.ratio, limit, priority),
      text(16, y + 66, room, `small ${ink(priority)}`),
      flag(priority, 184, y + 26, 0.8),
    ];
  }

  // One group of feeds has its bars beside it; where there are several, each rack says on which feeds it hangs.
  function feeds(body, height) {
    const single = body.failovers.length < 2 && body.feeds.length <= BARS.length;
    const order = (feed) => facility.priority(RULES.feed, feed.name) || (known(feed.load_ratio) ? 10 - feed.load_ratio : 10);
    const shown = (single ? body.feeds : [...body.feeds].sort((a, b) => order(a) - order(b))).slice(0, Math.max(1, Math.floor((height - HEAD - 78) / FEED_HEIGHT)));
    const group = body.failovers.reduce((worst, one) => (!worst || (one.ratio ?? 9) > (worst.ratio ?? 9) ? one : worst), null);
    const bottom = HEAD - 8 + shown.length * FEED_HEIGHT;
    return [
      shown.map((feed, i) => feedBox(feed, HEAD - 8 + i * FEED_HEIGHT, single ? i : undefined)),
      group ? failover(group, bottom + 2) : null,
      shown.length < body.feeds.length ? text(192, bottom + 16, `+ ${body.feeds.length - shown.length}`, "unit", "end") : null,
    ];
  }

  function bars(body, first, last) {
    return body.feeds.slice(0, BARS.length).map((feed, i) => svg("path", { class: `wire ${feed.lost ? "dead" : ""}`, d: `M${BARS[i]} ${Math.min(HEAD + 16 + i * FEED_HEIGHT, first)}V${last}` }));
  }

  // Each supply a square: filled while it works, hollow when it is off, silent or was never heard, crossed when it failed or
  // carries nothing.
  function supplies(shelf, x, y) {
    const state = facility.columns.state;
    const step = Math.min(14, 104 / Math.max(1, shelf.supplies.length, shelf.expected));
    const side = Math.max(2, step - 3);
    // A shelf that tells of itself as a whole alone has none to show.
    const missing = shelf.supplies.length || !shelf.answers ? Math.max(0, shelf.expected - shelf.supplies.length) : 0;
    const unheard = Array.from({ length: missing }, () => ({ [state]: "silent" }));
    return [...shelf.supplies, ...unheard].map((supply, i) => {
      const left = x + i * step;
      const gone = ["failed", "lost"].includes(supply[state]);
      return [
        svg("rect", { class: `supply ${supply[state]}`, x: left, y, width: side, height: 11 }),
        gone ? svg("path", { class: "cross", d: `M${left} ${y}l${side} 11m0 -11l${-side} 11` }) : null,
      ];
    });
  }

  // A box with a stroke between what comes and what goes: ~ to =.
  const rectifier = (x, y, kind) => [
    box(x, y - 15, 34, 30),
    svg("path", { class: "sign", d: `M${x} ${y + 15}l34 -30M${x + 5} ${y - 6}q3 -5 6 0t6 0M${x + 19} ${y + 6}h10m-10 4h10` }),
    text(x + 17, y + 30, kind, "unit", "middle"),
  ];

  function busColumns(bus, y, names) {
    if (!bus) return text(440, y - 7, facility.leftOut("bus", ...names) || "bus not told", "unit");
    const meant = `${bus.set_point_source === "usual" ? "usual " : ""}${facility.volts(bus.set_point_volts)}`;
    const priority = facility.priority(RULES.bus, ...names);
    const unevenness = facility.priority(RULES.poles, ...names);
    const damp = facility.priority(RULES.insulation, ...names);
    const poles = known(bus.positive_volts) && known(bus.negative_volts) ? `${bus.positive_volts.toFixed(1)} / ${bus.negative_volts.toFixed(1).replace("-", "\u2212")} V` : "";
    const insulation = bus.ground_fault ? "earth fault" : known(bus.ohms_per_volt) ? write("insulation", bus.ohms_per_volt) : "";
    return [
      text(440, y - 7, facility.volts(bus.volts), `value ${ink(priority)}`),
      text(440, y + 18, known(bus.deviation_ratio) ? `${facility.signed(bus.deviation_ratio, 1)} of ${meant}` : known(bus.set_point_volts) ? `of ${meant}` : "no set point", "unit"),
      flag(priority, 428, y, 0.66),
      text(624, y - 7, poles, "small strong"),
      text(624, y + 18, known(bus.imbalance_ratio) ? `uneven by ${facility.percent(bus.imbalance_ratio, 2)}` : "", unevenness ? `small ${ink(unevenness)}` : "unit"),
      flag(unevenness, 613, y, 0.62),
      text(756, y - 7, known(bus.ripple_volts) ? write("ripple", bus.ripple_volts) : "", "small strong"),
      text(756, y + 18, insulation, damp ? `small ${ink(damp)}` : "unit"),
      flag(damp, 747, y, 0.62),
    ];
  }

  // A rack without a shelf hangs on a rack PDU: what stands for the bus are its phases.
  function acColumns(pdu, y) {
    if (!pdu) return text(440, y - 7, "no shelf, no rack PDU tells of it", "unit");
    const priority = facility.priority(RULES.phases, pdu.name);
    const volts = pdu.phases.map((phase) => phase.volts).filter(known);
    const amperes = pdu.phases.map((phase) => phase.amperes).filter(known);
    return [
      text(440, y - 7, volts.length ? `${Math.min(...volts).toFixed(1)} V` : TokenWatt.NONE, `value ${ink(priority)}`),
      text(440, y + 18, pdu.lost.length ? `phase ${pdu.lost.join(", ")} lost` : `lowest of ${facility.plural(volts.length, "phase")}`, pdu.lost.length ? `small ${ink(priority)}` : "unit"),
      flag(priority, 428, y, 0.66),
      text(624, y - 7, amperes.length ? `${Math.max(...amperes).toFixed(1)} A` : "", "small strong"),
      text(624, y + 18, known(pdu.imbalance_ratio) ? `uneven by ${facility.percent(pdu.imbalance_ratio, 1)}` : amperes.length ? "highest phase" : "", "unit"),
    ];
  }

  function source({ shelf, pdu, names }, rack, y) {
    if (!shelf) return text(318, y - 7, pdu ? pdu.name : "", "small");
    const priority = facility.priority(RULES.supplies, ...names);
    const needs = known(rack.needed) ? `needs ${rack.needed}` : "";
    return [
      rectifier(268, y, (shelf.bus?.kind || "").replace("+/-", "±")),
      rack.shelves.length === 1 ? supplies(shelf, 318, y - 19) : text(318, y - 8, facility.plural(rack.shelves.length, "shelf", "shelves"), "small"),
      text(318, y + 18, [facility.working(rack), needs].filter(Boolean).join(", "), priority ? `small ${ink(priority)}` : "unit"),
      flag(priority, 312, y, 0.66),
    ];
  }

  function load({ rack, headroom, names }, y) {
    const priority = facility.priority(RULES.headroom, ...names);
    const output = known(rack.output_watts) ? `gives ${write("power", rack.output_watts)}` : facility.leftOut("power", ...names);
    const limit = facility.limit("bus_headroom_low");
    const part = known(rack.watts) && rack.coverage < 1; // what is not seen may draw as well
    return [
      value(880, y - 7, "power", rack.watts, part ? "part" : ""),
      text(880, y + 18, part ? `${TokenWatt.coverage(rack.coverage)} covered` : output, "unit"),
      text(980, y - 7, facility.percent(headroom), `value ${ink(priority)}`),
      bar(1030, y - 14, 46, headroom, limit, priority),
      text(980, y + 18, known(rack.stranded_watts) ? `${write("power", rack.stranded_watts)} stranded` : known(headroom) ? "of its rating" : "", "unit"),
      flag(priority, 968, y, 0.66),
    ];
  }

  // The line itself: taps on the bars, the wire to the rack, and the rack, which opens its drawer.
  function line(path, y, single) {
    const { rack, taps, shelf } = path;
    const silent = !known(rack.watts);
    const dead = taps.length > 0 && taps.every((feed) => feed.lost);
    return svg(
      "g",
      { class: silent ? "silent" : "" },
      single ? taps.map((feed) => svg("circle", { class: `tap ${feed.lost ? "dead" : ""}`, cx: BARS[facility.body.feeds.indexOf(feed)], cy: y, r: 3.5 })) : text(208, y - 7, taps.map((feed) => feed.name).join(" + "), "unit"),
      taps.length ? svg("path", { class: `wire ${dead ? "dead" : ""}`, d: `M${single ? Math.min(...taps.map((feed) => BARS[facility.body.feeds.indexOf(feed)])) : 208} ${y}H268` }) : null,
      svg("path", { class: `wire ${shelf ? "dc" : ""} ${dead ? "dead" : ""}`, d: `M${shelf ? 302 : 268} ${y}H1096` }),
      source(path, rack, y),
      shelf ? busColumns(shelf.bus, y, shelf ? [shelf.name] : []) : acColumns(path.pdu, y),
      load(path, y),
      door(path, y),
    );
  }

  function door({ rack, pdu, priority }, y) {
    const age = rack.age ?? pdu?.age;
    return svg("g", { class: "door", role: "button", tabindex: "0", "data-rack": rack.name, "aria-label": `Supplies and readings of rack ${rack.name}${priority ? `, ${TokenWatt.priorityName(priority)}` : ""}` },
      box(1096, y - 23, 76, 46, priority ? `abnormal p${priority}` : ""),
      text(1134, y - 2, rack.name, "heading", "middle"),
      svg("text", { x: 1134, y: y + 15, class: "unit", "text-anchor": "middle", ...(known(age) ? { "data-since": facility.body.time - age } : {}) }, known(age) ? "" : "no data"),
      flag(priority, 1172, y - 23, 0.9),
    );
  }

  const HEADS = [["Feeds", 16], ["Supplies", 318], ["Bus, against set point", 440], ["Poles", 624], ["Ripple, insulation", 756], ["Draws", 880], ["Headroom", 980], ["Rack", 1134, "middle"]];
  const heads = () => HEADS.map(([name, x, anchor]) => text(x, 14, name, "label", anchor));

  function diagram(node, body) {
    const { width, height: high } = TokenWatt.room(node);
    const scale = width / WIDTH;
    const room = high / scale;
    const all = [...facility.paths().values()];
    const fits = Math.max(LEAST_ROWS, Math.floor((room - HEAD + 6) / PITCH));
    const shown = chosen(all, all.length > fits ? Math.max(LEAST_ROWS, Math.floor((room - HEAD - 26) / PITCH)) : fits);
    const left = all.length - shown.length;
    const pitch = left ? PITCH : Math.min(86, Math.max(PITCH, (room - HEAD - 14) / shown.length));
    const first = HEAD + 22;
    const last = first + (shown.length - 1) * pitch;
    const height = Math.max(last + 33 + (left ? 22 : 0), HEAD + Math.min(body.feeds.length, 2) * FEED_HEIGHT + 72);
    const single = body.failovers.length < 2 && body.feeds.length <= BARS.length;
    const picture = svg("svg", { class: "mimic path", viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH * scale, height: height * scale, role: "group", "aria-label": `Power path: ${body.feeds.map(said).join("; ")}` });
    picture.append(...[heads(), single ? bars(body, first, last) : [], shown.map((one, i) => line(one, first + i * pitch, single)), feeds(body, Math.max(room, height)), left ? text(318, last + 48, `+ ${facility.plural(left, "rack")} in the table below; here the gravest and those with the least headroom`, "label") : null].flat(Infinity).filter(Boolean));
    return picture;
  }
  const said = (feed) => `${feed.name} ${feed.lost ? "lost" : write("power", feed.watts)}${known(feed.rated_watts) ? ` of ${write("power", feed.rated_watts)}` : ""}`;

  // Where there is no room for a picture, the same in words.
  const MOST_LISTED = 12;
  function listed(body) {
    const { fact } = facility;
    const all = [...facility.paths().values()];
    const shown = chosen(all, MOST_LISTED);
    return [
      body.feeds.length ? el("section", { class: "listed" }, el("h3", {}, "Feeds"), el("dl", { class: "facts" },
        body.feeds.map((feed) => fact(feed.name, feed.lost ? "lost" : write("power", feed.watts), facility.priority(RULES.feed, feed.name), known(feed.rated_watts) ? `of ${write("power", feed.rated_watts)}` : "")),
        body.failovers.map((group) => fact("With one lost", facility.percent(group.ratio), facility.priority(RULES.failover, group.feeds.join(" + ")), known(group.rated_watts) ? `of ${write("power", group.rated_watts)}` : "")))) : null,
      shown.map((one) => el("section", { class: "listed" }, el("h3", {}, one.priority ? TokenWatt.chip(one.priority) : null, el("button", { type: "button", class: "link", "data-rack": one.rack.name }, one.rack.name), el("small", {}, one.taps.map((feed) => feed.name).join(" + "))), el("dl", { class: "facts" }, facility.rackFacts(one).slice(0, 6)))),
      shown.length < all.length ? el("p", { class: "empty" }, `+ ${facility.plural(all.length - shown.length, "rack")} in the table below`) : null,
    ];
  }

  TokenWatt.widgets.power_path = function (node, spec, live) {
    facility.drawing(node, live, (body) => {
      if (!body.racks.length && !body.feeds.length) return el("p", { class: "empty" }, "The inventory names no rack and no feed.");
      return facility.isSmall(node) ? listed(body) : diagram(node, body);
    });
  };
})();
