// What facilities people look for besides: leaks, readings that cannot be, silent parts, coolant units in full, batteries.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, write, facility } = TokenWatt;
  const { known, inked } = facility;
  const MOST = 6;
  const MOST_ROWS = 40;

  const LEAK = { critical: ["leak", 1], warning: ["warning", 3], sensor_fault: ["detector fault", 3], silent: ["silent", 3] };
  const byState = (a, b) => LEAK[a.state][1] - LEAK[b.state][1] || a.age - b.age;

  function detector(leak) {
    const [word, priority] = LEAK[leak.state];
    const where = leak.rack && leak.rack !== leak.device ? `${leak.device}, rack ${leak.rack}` : leak.device;
    const what = [leak.detector, leak.level].filter((part) => part && part !== "-").join(", ");
    return el("li", {}, TokenWatt.chip(priority), el("span", {}, el("b", {}, `${where}: ${word}`), el("small", {}, what)), facility.since(leak.age, { class: "when" }));
  }

  TokenWatt.widgets.leaks = function (node, spec, live) {
    facility.drawing(node, live, ({ leaks }) => {
      const bad = leaks.filter((leak) => LEAK[leak.state]).sort(byState);
      const wet = bad.filter((leak) => leak.state === "critical" || leak.state === "warning").length;
      const text = wet ? facility.plural(wet, "wet detector") : leaks.length ? "No leak" : "Leaks: not collected";
      return [
        el("p", { class: "sum" }, el("b", {}, text), el("small", {}, leaks.length ? `${TokenWatt.count(leaks.length - bad.length)} of ${facility.plural(leaks.length, "detector")} dry` : "")),
        bad.length ? el("ul", { class: "notes" }, bad.slice(0, MOST).map(detector), bad.length > MOST ? el("li", { class: "more" }, `+ ${bad.length - MOST} more`) : null) : null,
      ];
    });
  };

  const RULES = {
    apparent: "more power than volts and amperes allow",
    product: "power is not volts times amperes",
    efficiency: "gives more than it takes",
    sum: "parts and total differ",
    order: "return colder than supply",
    heat: "reported and computed heat differ",
    stuck: "repeats itself",
  };
  // One line per device and rule: a wrong unit fails in all of a shelf's supplies at once.
  facility.checkLines = function (checks) {
    const groups = new Map();
    for (const check of checks) {
      const key = `${check.device} ${check.rule}`;
      groups.set(key, [...(groups.get(key) || []), check]);
    }
    return [...groups.values()].map(checkLine);
  };
  function checkLine(group) {
    const [first] = group;
    const alarm = facility.alarm(["value_implausible"], first.device, first.rack);
    const most = Math.max(...group.map((check) => check.failures));
    const subjects = `${first.subject}${group.length > 1 ? ` and ${group.length - 1} more` : ""}`;
    return el("li", {},
      TokenWatt.chip(alarm?.priority || 3, alarm?.ack ? "open" : ""),
      el("span", {}, el("b", {}, `${first.device}: ${RULES[first.rule] || first.rule}`), el("small", {}, first.text), el("small", {}, `${subjects} · failed ${facility.plural(most, "time")}`)),
      el("span", { class: "when", "data-since": Math.min(...group.map((check) => check.since)), title: "since it fails" }));
  }

  // What a collector did not take: "power.active_watts[circuit=total]=-4200: why", or as any device has it.
  const REFUSAL = /^\w+\.(\w+)(?:\[[^\]]*\])?=[^:]*: (.+)$/;
  facility.refusedWords = function (one) {
    const [, name, why] = REFUSAL.exec(one.text) || [null, "reading", one.text];
    return [`${name.replaceAll("_", " ")} left out`, why.replace(/(?<![\w.])-(?=\d)/g, "\u2212")];
  };
  facility.refusedLines = (list) => list.map((one) => {
    const [what, why] = facility.refusedWords(one);
    return el("li", {}, TokenWatt.chip(4), el("span", {}, el("b", {}, `${one.device}: ${what}`), el("small", {}, why)), facility.since(one.age, { class: "when", title: "since its last poll" }));
  });

  function quiet(one) {
    const parts = one.parts.length ? `${one.parts.slice(0, 3).join(", ")}${one.parts.length > 3 ? ` + ${one.parts.length - 3}` : ""} silent` : "";
    const never = one.unheard ? `${one.unheard} of ${facility.plural(one.expected, "supply", "supplies")} never answered` : "";
    const said = `${one.device}: ${[parts, never].filter(Boolean).join(", ")}`;
    return el("li", {}, TokenWatt.chip(3), el("span", {}, el("b", {}, said), el("small", {}, one.why)), el("span", {}));
  }

  TokenWatt.widgets.doubts = function (node, spec, live) {
    facility.drawing(node, live, ({ checks, refused, silent }) => {
      const all = [...facility.checkLines([...checks].sort((a, b) => a.age - b.age)), ...facility.refusedLines(refused), ...silent.map(quiet)];
      if (!all.length) return el("p", { class: "empty" }, "None: the readings of each device agree with each other.");
      return el("ul", { class: "notes" }, all);
    });
  };

  const PUMP = (pump) => `${pump.name}: ${pump.silent ? "silent" : pump.fault ? "fault" : pump.running === null ? "not told" : pump.running ? [known(pump.speed_ratio) ? facility.percent(pump.speed_ratio) : "", known(pump.speed_rpm) ? write("revolutions", pump.speed_rpm) : ""].filter(Boolean).join(", ") || "runs" : "stands"}`;
  const pair = (form, a, b) => (known(a) || known(b) ? `${write(form, a)}, ${write(form, b)}` : TokenWatt.NONE);
  const plain = (value, decimals) => (known(value) ? value.toFixed(decimals) : TokenWatt.NONE);

  function unitRow(unit) {
    const judged = (rules, ...words) => inked(facility.priority(rules, unit.name), ...words);
    const reported = unit.tcs.heat_reported_watts ?? unit.fws.heat_reported_watts;
    const mismatch = known(unit.heat_mismatch_ratio) ? el("small", { class: "under-name" }, `${facility.signed(unit.heat_mismatch_ratio, 1)} of computed`) : null;
    return [
      [unit.name, el("small", { class: "under-name" }, unit.racks.join(", "))],
      facility.since(unit.age),
      write("power", unit.heat_watts),
      judged(["heat_mismatch"], write("power", reported), mismatch),
      judged(["delta_t_out"], write("kelvin", unit.tcs.rise_celsius)),
      facility.percent(unit.effectiveness_ratio),
      known(unit.flow_liters_per_joule) ? `${(unit.flow_liters_per_joule * 6e4).toFixed(2)} L/min` : TokenWatt.NONE,
      pair("pressure", unit.tcs.supply_pascals, unit.tcs.return_pascals),
      pair("pressure", unit.fws.supply_pascals, unit.fws.return_pascals),
      facility.percent(unit.fws.valve_ratio ?? unit.tcs.valve_ratio),
      judged(["pump_failed", "pump_redundancy_lost"], unit.pumps.length ? unit.pumps.map(PUMP).join("; ") : TokenWatt.NONE),
      judged(["filter_dp_high"], write("pressure", unit.filter_pascals), known(unit.filter_ratio) ? el("small", { class: "under-name" }, `${unit.filter_ratio.toFixed(1)} × clean`) : null),
      judged(["coolant_quality"], plain(unit.ph, 2)),
      write("conductivity", unit.conductivity_siemens_per_meter),
      write("turbidity", unit.turbidity_ntu),
    ];
  }
  const UNIT_HEADS = ["Unit", "Age", "Heat", "Reported", "Rise", "Effectiveness", "Flow per kW", "TCS supply, return", "FWS supply, return", "Valve", "Pumps", "Filter", "pH", "Conductivity", "Turbidity"];

  TokenWatt.widgets.units = function (node, spec, live) {
    facility.drawing(node, live, ({ units }) => (units.length ? facility.table("Coolant units", UNIT_HEADS, units.map(unitRow), ["Unit", "Pumps"]) : el("p", { class: "empty" }, "No coolant distribution unit reports here.")));
  };

  const grave = (one) => facility.priority(null, one.name) || 9;
  function acRow(one) {
    const judged = (rules, words) => inked(facility.priority(rules, one.name), words);
    const volts = one.phases.map((phase) => phase.volts).filter(known);
    const amperes = one.phases.map((phase) => phase.amperes).filter(known);
    const refusal = known(one.watts) ? null : facility.refusal("power", facility.body.refused, [one.name]);
    return [
      [one.name, one.rack ? el("small", { class: "under-name" }, `rack ${one.rack}`) : null],
      one.kind.replaceAll("_", " "),
      [write("power", one.watts), refusal ? el("small", { class: "under-name" }, facility.refusedWords(refusal)[1]) : null],
      judged(["ac_phase_overload", "ac_overload"], facility.percent(one.load_ratio)),
      judged(["phase_lost"], one.lost.length ? `phase ${one.lost.join(", ")} lost` : volts.length ? `${Math.min(...volts).toFixed(1)} – ${Math.max(...volts).toFixed(1)} V` : TokenWatt.NONE),
      amperes.length ? `${amperes.map((value) => value.toFixed(1)).join(" · ")} A` : TokenWatt.NONE,
      judged(["ac_imbalance"], facility.percent(one.imbalance_ratio, 1)),
      facility.since(one.age),
    ];
  }
  TokenWatt.widgets.meters = function (node, spec, live) {
    facility.drawing(node, live, ({ ac }) => {
      const shown = [...ac].sort((a, b) => grave(a) - grave(b)).slice(0, MOST_ROWS);
      const more = ac.length > shown.length ? el("p", { class: "empty" }, `+ ${TokenWatt.count(ac.length - shown.length)} more, none of them with an alarm`) : null;
      return ac.length ? [facility.table("Meters and rack PDUs", ["Device", "Kind", "Power", "Load", "Voltage", "Current", "Uneven", "Age"], shown.map(acRow), ["Device", "Kind"]), more] : el("p", { class: "empty" }, "No meter and no rack PDU reports here.");
    });
  };

  const BATTERY = { fault: 2, discharging: 2, off: 3 };
  function batteryRow(one) {
    const object = one.unit ? `${one.device} ${one.unit}` : one.device;
    const judged = (rule, words) => inked(facility.priority([rule], object), words);
    return [
      [object, one.rack ? el("small", { class: "under-name" }, `rack ${one.rack}`) : null],
      inked(one.silent ? 3 : BATTERY[one.state], one.silent ? "silent" : one.state || "not told"),
      judged("bbu_soc_low", facility.percent(one.charge_ratio)),
      judged("bbu_soh_low", facility.percent(one.health_ratio)),
      judged("bbu_runtime_low", known(one.runtime_seconds) ? TokenWatt.duration(one.runtime_seconds) : TokenWatt.NONE),
      facility.volts(one.volts),
      write("amperes", one.amperes),
      write("watt_hours", one.energy_joules),
      write("celsius", one.temperature_celsius),
      facility.since(one.age),
    ];
  }
  TokenWatt.widgets.batteries = function (node, spec, live) {
    const { body } = facility;
    TokenWatt.setHidden(node.closest(".card"), !body || !body.batteries.length); // most sites have none
    if (!body || !body.batteries.length) {
      TokenWatt.refill(node, "none", () => el("p", { class: "empty" }, "No battery reports here."));
      return;
    }
    facility.drawing(node, live, ({ batteries }) => facility.table("Batteries", ["Battery", "State", "Charge", "Health", "Lasts", "Voltage", "Current", "Energy", "Temperature", "Age"], batteries.slice(0, MOST_ROWS).map(batteryRow), ["Battery", "State"]));
  };
})();
