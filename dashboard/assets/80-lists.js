// Lists and tables out of the snapshot: rack load, idle GPUs, and how each number is made.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, svg, write, read } = TokenWatt;
  const MOST_RACKS = 14;
  const MOST_IDLE = 100;
  const RATING_MARK = 0.95;

  // By rack while they fit, else by row.
  function loads(racks) {
    if (racks.length <= MOST_RACKS) return racks.map((rack) => ({ name: rack.name, watts: rack.watts, rated: rack.rated_watts, racks: [rack.name] }));
    const rows = new Map();
    for (const rack of racks) {
      const row = rows.get(rack.row) || { name: `Row ${rack.row}`, watts: null, rated: 0, racks: [] };
      if (rack.watts !== null) row.watts = (row.watts || 0) + rack.watts;
      row.rated += rack.rated_watts || 0;
      row.racks.push(rack.name);
      rows.set(rack.row, row);
    }
    return [...rows.values()];
  }

  function bar(load, alarms) {
    const share = load.rated && load.watts !== null ? load.watts / load.rated : null;
    const alarm = alarms.find((one) => (one.racks || []).some((name) => load.racks.includes(name)));
    return el(
      "div",
      { class: "bar" },
      el("span", { class: "name" }, load.name),
      el("span", { class: "track" }, svg(
        "svg",
        { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
        share === null ? null : svg("rect", { class: "share", width: Math.min(100, share * 100), height: 10 }),
        svg("rect", { class: "mark", x: RATING_MARK * 100, width: 0.5, height: 10 }),
      )),
      el("span", { class: "figure" }, load.watts === null ? el("i", {}, "no data") : write("power", load.watts), load.rated ? el("i", {}, ` / ${write("power", load.rated)}`) : null),
      el("span", {}, alarm ? TokenWatt.chip(alarm.priority, alarm.ack ? "open" : "") : null),
    );
  }

  TokenWatt.widgets.loads = function (node, spec, live) {
    if (TokenWatt.shows(node, live)) return;
    const { racks, alarms } = live.snapshot;
    const list = loads(racks);
    const gravest = TokenWatt.sortAlarms(alarms);
    TokenWatt.redraw(node, list.length ? list.map((load) => bar(load, gravest)) : el("p", { class: "empty" }, "No rack reports its power."));
  };

  function table(heads, rows) {
    return el("table", { class: "table" }, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, rows));
  }

  TokenWatt.widgets.idle = function (node, spec, live) {
    const { idle, numbers } = live.snapshot;
    const count = read(numbers.gpus_idle);
    const cost = read(numbers.idle_cost_per_hour);
    const each = count.value > 0 && cost.value !== undefined ? cost.value / count.value : null;
    const money = (value) => TokenWatt.money(value, numbers.idle_cost_per_hour);
    const aside = node.closest(".card").querySelector(".aside");
    const said = count.value > 0 && cost.value !== undefined ? `${TokenWatt.count(count.value)} GPUs, ${money(cost.value)} per hour` : "";
    TokenWatt.setText(aside, said);
    const gpus = [...idle.gpus].sort((a, b) => a.since - b.since);
    const states = Object.entries(idle.states).filter(([, n]) => n > 0).map(([state, n]) => `${state.replaceAll("_", " ")} ${TokenWatt.count(n)}`);
    if (!gpus.length) {
      const text = count.value === undefined ? count.why : "No GPU is idle.";
      TokenWatt.refill(node, [text, ...states].join("|"), () => [el("p", { class: "empty" }, text), el("p", { class: "empty" }, states.join(" · "))]);
      return;
    }
    const shown = gpus.slice(0, MOST_IDLE);
    const price = each === null ? TokenWatt.NONE : money(each);
    const key = JSON.stringify([shown, price, states, gpus.length]);
    const { scrollTop } = node;
    TokenWatt.refill(node, key, () => [
      table(["GPU", "Rack", "State", "Idle for", "Cost per hour", "Why"], shown.map((gpu) => idleRow(gpu, price))),
      el("p", { class: "empty summary" }, `All GPUs: ${states.join(" · ")}`),
      gpus.length > MOST_IDLE ? el("p", { class: "empty" }, `+ ${TokenWatt.count(gpus.length - MOST_IDLE)} more`) : [],
    ]);
    node.scrollTop = scrollTop;
    TokenWatt.tellAges();
  };

  function idleRow(gpu, price) {
    return el(
      "tr",
      {},
      el("td", {}, gpu.host, el("small", { title: gpu.gpu }, gpu.gpu.slice(0, 12))),
      el("td", {}, gpu.rack),
      el("td", {}, gpu.state.replaceAll("_", " ")),
      el("td", { class: "right", "data-since": gpu.since }),
      el("td", { class: "right" }, price),
      el("td", { class: "wide" }, gpu.reason),
    );
  }

  // The unit of a cost is "<currency>/h".
  TokenWatt.money = function (value, number) {
    const currency = ((number && number.unit) || "").split("/")[0];
    return [currency, TokenWatt.format("cost", value).text].filter(Boolean).join(" ");
  };

  // One line per kind of source: who tells of GPUs and how their energy is known, whose tokens count, what belongs nowhere.
  function sources({ gpus, models, unmapped_tokens_ratio: tokens, unmapped_energy_ratio: energy }) {
    const some = (parts) => parts.filter(([, n]) => n > 0).map(([name, n]) => `${name} ${TokenWatt.count(n)}`);
    const levels = new Map();
    for (const model of models) levels.set(model.level, (levels.get(model.level) || 0) + 1);
    const lost = [["tokens", tokens], ["energy", energy]].filter(([, share]) => share > 0.001);
    return [
      ["GPUs by source", some([...Object.entries(gpus.exporters), ["seen by two", gpus.doubled]])],
      ["Board energy", some([["by counter", gpus.by_counter], ["by power", gpus.by_power], ["suspect", gpus.suspect]])],
      ["Models by level", some([...levels].map(([level, n]) => [level || "silent", n]))],
      ["Unmapped", lost.map(([name, share]) => `${name} ${write("percent", share)}`)],
    ].filter(([, parts]) => parts.length).map(([name, parts]) => `${name}: ${parts.join(", ")}`);
  }

  TokenWatt.widgets.formulas = function (node, spec, live) {
    if (TokenWatt.shows(node, live)) return;
    const rows = spec.numbers.map(([name, label, form]) => {
      const number = live.snapshot.numbers[name];
      const seen = read(number);
      return el(
        "tr",
        {},
        el("th", { scope: "row" }, label),
        el("td", { class: "right" }, seen.value === undefined ? TokenWatt.NONE : write(form, seen.value)),
        el("td", { class: "right" }, seen.value === undefined ? "" : TokenWatt.coverage(seen.covered)),
        el("td", { class: "wide" }, (number && number.formula) || "", seen.why ? el("small", {}, seen.why) : null),
      );
    });
    TokenWatt.redraw(node, [
      sources(live.snapshot.sources).map((line) => el("p", { class: "source" }, line)),
      table(["Number", "Now", "Seen", "Formula"], rows),
    ]);
  };
})();
