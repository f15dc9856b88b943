// The coolant loops as a mimic: facility water, exchanger, pumps, racks, and what each is held against. Many scroll.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, svg, format, write } = TokenWatt;
  const WIDTH = 1180;
  const HEAD = 34;
  const MOST_PITCH = 190;
  const LEAST_PITCH = 114;
  const MOST_PUMPS = 4;
  const MOST_UNITS = 8;
  const FLOW = ["coolant_flow_low"];
  const PUMPS = ["pump_failed", "pump_redundancy_lost"];

  const text = (x, y, words, look, anchor) => svg("text", { x, y, class: look || "", "text-anchor": anchor || "start" }, words);
  const pipe = (d, back) => svg("path", { class: `pipe ${back ? "return" : ""}`, d });
  const box = (x, y, width, height, look) => svg("rect", { class: `equipment ${look || ""}`, x, y, width, height, rx: 3 });
  const known = (value) => value !== null && value !== undefined;
  TokenWatt.drawing = { text, box, flag, value };

  function value(x, y, form, number, look, anchor) {
    if (!known(number)) return text(x, y, TokenWatt.NONE, "unit", anchor);
    const written = format(form, number);
    return svg("text", { x, y, class: `value ${look || ""}`, "text-anchor": anchor || "start" }, written.text, svg("tspan", { class: "unit", dx: 4 }, written.unit));
  }

  // The gravest alarm of a thing stands at its corner: shape, colour and digit.
  function flag(priority, x, y, size) {
    if (!priority) return null;
    const digit = text(12, priority === 2 ? 19 : 17, String(priority), "digit", "middle");
    const k = size || 1;
    return svg("g", { class: `p${priority}`, transform: `translate(${x - 13 * k} ${y - 13 * k}) scale(${k})` }, TokenWatt.shape(priority), digit);
  }

  function impeller(pump, x, y) {
    const look = pump.fault || pump.running === false ? "impeller still" : pump.running === null ? "impeller unknown" : "impeller";
    return [
      svg("circle", { class: "equipment", cx: x, cy: y, r: 12 }),
      svg("path", { class: look, d: `M${x - 5} ${y - 7}L${x + 9} ${y}L${x - 5} ${y + 7}z` }),
      pump.fault ? svg("path", { class: "cross", d: `M${x - 7} ${y - 7}l14 14m0 -14l-14 14` }) : null,
    ];
  }

  function heads() {
    const names = [["Facility water", 118], ["Exchanger", 296, "middle"], ["Pumps", 406, "middle"], ["Supply, return", 462], ["Flow, least", 582], ["Racks", 776, "middle"], ["Against what it must be", 880]];
    return names.map(([name, x, anchor]) => text(x, 14, name, "label", anchor));
  }

  // "A01 – A14", or the names while they are few.
  function rackNames(names) {
    if (!names.length) return TokenWatt.NONE;
    return names.length <= 2 ? names.join(", ") : `${names[0]} – ${names.at(-1)}`;
  }

  // What a unit is held against: name, share of the scale, normal range on it, what is written, the rules that speak of it.
  function marks(unit) {
    const margin = TokenWatt.facility.limit("dew_margin_low");
    const level = TokenWatt.facility.limit("reservoir_low");
    const scale = (number, most) => (known(number) ? number / most : null);
    const approach = unit.rated_approach_celsius;
    return [
      { name: "Load", share: unit.load_ratio, range: [0, 1], words: [TokenWatt.facility.percent(unit.load_ratio), unit.rated_watts ? `of ${write("power", unit.rated_watts)}` : ""], rules: [] },
      { name: "Flow", share: scale(unit.flow_margin_ratio, 3), range: [1 / 3, 1.2], words: [known(unit.flow_margin_ratio) ? `${unit.flow_margin_ratio.toFixed(1)} ×` : TokenWatt.NONE, "least"], rules: FLOW },
      { name: "Approach", share: scale(unit.approach_celsius, 2 * approach), range: [0, 0.5], words: [write("kelvin", unit.approach_celsius), `rated ${write("kelvin", approach)}`], rules: ["approach_high"] },
      { name: "Dew margin", share: scale(unit.dew_margin_celsius, 20), range: [scale(margin, 20) ?? 0, 1.2], words: [write("kelvin", unit.dew_margin_celsius), known(margin) ? `limit ${write("kelvin", margin)}` : known(unit.dew_point_celsius) ? `dew ${write("celsius", unit.dew_point_celsius)}` : ""], rules: ["dew_margin_low"] },
      { name: "Level", share: unit.level_ratio, range: [level ?? 0, 1.2], words: [TokenWatt.facility.percent(unit.level_ratio), known(level) ? `limit ${TokenWatt.facility.percent(level)}` : ""], rules: ["reservoir_low"] },
    ];
  }

  // A moving pointer against the normal range: a deviation is a shape before it is an alarm.
  function gauge(mark, priority, y) {
    const [x, width] = [966, 76];
    const at = (ratio) => x + (Math.max(0, Math.min(1.2, ratio)) / 1.2) * width;
    return [
      text(880, y + 8, mark.name, "label"),
      svg("rect", { class: "track", x, y, width, height: 7 }),
      svg("rect", { class: "normal", x: at(mark.range[0]), y, width: at(mark.range[1]) - at(mark.range[0]), height: 7 }),
      known(mark.share) ? svg("path", { class: `pointer${priority ? ` ink-p${priority}` : ""}`, d: `M${at(mark.share)} ${y + 5}l-5 8h10z` }) : null,
      svg("text", { x: x + width + 12, y: y + 8, class: `small${priority ? ` ink-p${priority}` : ""}` }, mark.words[0], svg("tspan", { class: "unit", dx: 5 }, mark.words[1])),
      flag(priority, 868, y + 4, 0.6),
    ];
  }

  const isSilent = (unit) => unit.age === null || unit.coverage === 0;
  const ink = (priority) => (priority ? `ink-p${priority}` : "");

  function line(unit, y) {
    const { facility } = TokenWatt;
    const back = y + 44;
    const silent = isSilent(unit);
    const worst = facility.priority(null, unit.name);
    const { tcs, fws } = unit;
    return svg(
      "g",
      { class: silent ? "silent" : "" },
      pipe(`M84 ${y}H242`), pipe(`M84 ${back}H242`, true), pipe(`M350 ${y}H700`), pipe(`M700 ${back}H350`, true),
      value(100, y - 8, "celsius", fws.supply_celsius), value(100, back - 8, "celsius", fws.return_celsius),
      text(100, back + 18, known(fws.flow_liters_per_second) ? write("flow", fws.flow_liters_per_second) : "", "unit"),
      box(242, y - 32, 108, 108, worst ? `abnormal p${worst}` : ""),
      text(296, y - 13, unit.name, "heading", "middle"),
      svg("path", { class: "plates", d: `M256 ${y - 2}l12 11l-12 11l12 11l-12 11M336 ${y - 2}l-12 11l12 11l-12 11l12 11` }),
      svg("path", { class: "divide", d: `M296 ${y - 2}v46` }),
      flag(worst, 350, y - 32),
      age(unit, silent, 296, y + 64),
      pumps(unit, y),
      value(462, y - 8, "celsius", tcs.supply_celsius), value(462, back - 8, "celsius", tcs.return_celsius),
      value(582, y - 8, "flow", tcs.flow_liters_per_second, ink(facility.priority(FLOW, unit.name))),
      text(582, back - 8, known(tcs.flow_liters_per_second) ? (known(unit.least_flow_liters_per_second) ? `least ${write("flow", unit.least_flow_liters_per_second)}` : "") : facility.leftOut("flow", unit.name), "unit"),
      text(582, back + 18, known(tcs.differential_pressure_pascals) ? `${write("pressure", tcs.differential_pressure_pascals)} across` : "", "unit"),
      text(462, back + 18, known(tcs.rise_celsius) ? `${write("kelvin", tcs.rise_celsius)} rise` : "", "unit"),
      box(700, y - 32, 152, 108),
      text(776, y - 9, rackNames(unit.racks), "heading", "middle"),
      value(776, y + 22, "power", unit.heat_watts, "", "middle"),
      text(776, y + 46, (known(unit.heat_watts) ? "" : facility.leftOut("coolant", unit.name)) || `heat of ${facility.plural(unit.racks.length, "rack")}`, "unit", "middle"),
      marks(unit).map((mark, i) => gauge(mark, mark.rules.length ? facility.priority(mark.rules, unit.name) : 0, y - 31 + i * 22)),
    );
  }

  // What is old says since when; what lives says how old it is.
  function age(unit, silent, x, y) {
    if (unit.age === null) return text(x, y, "never seen", "label", "middle");
    const at = TokenWatt.facility.body.time - unit.age;
    return silent ? text(x, y, `silent ${TokenWatt.clock(at)}`, "label", "middle") : svg("text", { x, y, class: "label", "text-anchor": "middle", "data-since": at, "data-after": " old" });
  }

  function pumps(unit, y) {
    const priority = TokenWatt.facility.priority(PUMPS, unit.name);
    if (!unit.pumps.length) return text(406, y - 8, "not told", "unit", "middle");
    const shown = unit.pumps.slice(0, MOST_PUMPS);
    const step = shown.length > 2 ? 22 : 30;
    const speeds = unit.pumps.map((pump) => pump.speed_ratio).filter(known);
    const speed = speeds.length ? ` · ${Math.round(Math.max(...speeds) * 100)} %` : "";
    return [
      shown.map((pump, i) => impeller(pump, 406 + (i - (shown.length - 1) / 2) * step, y)),
      text(406, y + 30, `${unit.pumps_running} of ${unit.pumps.length}${speed}`, `small ${ink(priority)}`, "middle"),
      text(406, y + 62, unit.pumps_needed ? `${unit.pumps_needed} needed` : "", "unit", "middle"),
    ];
  }

  function loop(last) {
    const middle = (HEAD + last + 76) / 2;
    return [box(16, HEAD, 68, last + 76 - HEAD), text(50, middle - 3, "Facility", "label", "middle"), text(50, middle + 15, "loop", "label", "middle")];
  }

  // In their order while they are few; else the gravest, then those with the least flow for their heat.
  function chosen(units) {
    if (units.length <= MOST_UNITS) return units;
    const grave = (unit) => TokenWatt.facility.priority(null, unit.name) || 9;
    return [...units].sort((a, b) => grave(a) - grave(b) || (a.flow_margin_ratio ?? 9) - (b.flow_margin_ratio ?? 9)).slice(0, MOST_UNITS);
  }

  function mimic(node, units) {
    const { width, height: high } = TokenWatt.room(node);
    const scale = width / WIDTH;
    const room = high / scale - HEAD;
    const pitch = Math.max(LEAST_PITCH, Math.min(MOST_PITCH, room / units.length));
    const first = HEAD + 32;
    const last = first + (units.length - 1) * pitch;
    const picture = svg("svg", { class: "mimic", viewBox: `0 0 ${WIDTH} ${last + 78}`, width: WIDTH * scale, height: (last + 78) * scale, role: "img", "aria-label": `Coolant loops: ${units.map(said).join("; ")}` });
    picture.append(...[heads(), loop(last), units.map((unit, i) => line(unit, first + i * pitch))].flat());
    return picture;
  }

  const said = (unit) => `${unit.name}${isSilent(unit) ? " silent" : ""}, supply ${write("celsius", unit.tcs.supply_celsius)}, return ${write("celsius", unit.tcs.return_celsius)}, ${marks(unit).map((mark) => `${mark.name.toLowerCase()} ${mark.words.filter(Boolean).join(" ")}`).join(", ")}`;

  // Where there is no room for a picture, the same in words.
  function listed(unit) {
    const { facility } = TokenWatt;
    const { fact } = facility;
    const worst = facility.priority(null, unit.name);
    const state = isSilent(unit) ? "silent" : rackNames(unit.racks);
    return el("section", { class: "listed" },
      el("h3", {}, worst ? TokenWatt.chip(worst) : null, unit.name, el("small", {}, state)),
      el("dl", { class: "facts" },
        fact("Supply, return", `${write("celsius", unit.tcs.supply_celsius)}, ${write("celsius", unit.tcs.return_celsius)}`),
        fact("Facility water", `${write("celsius", unit.fws.supply_celsius)}, ${write("celsius", unit.fws.return_celsius)}`),
        fact("Heat", write("power", unit.heat_watts)),
        fact("Flow", write("flow", unit.tcs.flow_liters_per_second), facility.priority(FLOW, unit.name), known(unit.least_flow_liters_per_second) ? `least ${write("flow", unit.least_flow_liters_per_second)}` : ""),
        fact("Pumps", unit.pumps.length ? `${unit.pumps_running} of ${unit.pumps.length} run` : "not told", facility.priority(PUMPS, unit.name), unit.pumps_needed ? `${unit.pumps_needed} needed` : ""),
        fact("Seen", facility.since(unit.age, { "data-after": " ago" })),
        marks(unit).filter((mark) => mark.name !== "Flow").map((mark) => fact(mark.name, mark.words[0], mark.rules.length ? facility.priority(mark.rules, unit.name) : 0, mark.words[1]))));
  }

  TokenWatt.widgets.coolant = function (node, spec, live) {
    TokenWatt.facility.drawing(node, live, ({ units }) => {
      if (!units.length) return el("p", { class: "empty" }, "No coolant distribution unit reports here.");
      const shown = chosen(units);
      const more = units.length > shown.length ? el("p", { class: "empty" }, `+ ${TokenWatt.facility.plural(units.length - shown.length, "unit")} in the table below; here the gravest and those with the least flow for their heat`) : null;
      return [TokenWatt.facility.isSmall(node) ? shown.map(listed) : mimic(node, shown), more];
    });
  };
})();
