// A tile: label, value with unit, bound and change, trend. The page declares what it shows; see components.tile.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, svg, read, format, write } = TokenWatt;
  const TARGET_MISSED = 3;
  const LIMIT_PASSED = 2;

  // What a number is held against: {text, edges, priority, beyond}; priority is 0 while it holds, null without a bound.
  // A limit is one edge or [low, high]; a target is shown while the limit, which weighs more, holds.
  TokenWatt.bound = function (number, better, writeEdge) {
    const limit = number?.limit ?? null;
    const target = number?.target ?? null;
    const known = read(number).value !== undefined;
    const held = (edges, beyond, text, priority) => ({ edges, beyond, text, priority: known && beyond(number.value) ? priority : 0 });
    const wrong = (edge) => (v) => (better === "high" ? v < edge : v > edge);
    const aim = target === null ? null : held([target], wrong(target), `target ${better === "high" ? "≥" : "≤"} ${writeEdge(target)}`, TARGET_MISSED);
    if (limit === null) return aim;
    const most = Array.isArray(limit)
      ? held(limit, (v) => v < limit[0] || v > limit[1], `limits ${limit.map(writeEdge).join(" – ")}`, LIMIT_PASSED)
      : held([limit], wrong(limit), `limit ${better === "high" ? "≥ " : ""}${writeEdge(limit)}`, LIMIT_PASSED);
    return aim && !most.priority ? aim : most;
  };

  // Where nothing may be said of the change, nothing is: a difference over less than five minutes is noise.
  function change(spec, value, history) {
    const values = (history && history.series[spec.history]) || [];
    const first = values.findIndex((v) => v !== null);
    if (first < 0 || values[first] === 0) return "";
    const seconds = (values.length - first) * history.step;
    if (seconds < 300) return "";
    const ratio = (value / values[first] - 1) * 100;
    const sign = ratio >= 0 ? "+" : "\u2212";
    return `${sign}${Math.abs(ratio).toFixed(1)} % vs ${seconds >= 3500 ? "1 h" : `${Math.round(seconds / 60)} m`}`;
  }

  function aside(spec, seen, live) {
    if (seen.state === "partial") return `${TokenWatt.coverage(seen.covered)} covered`;
    if (seen.state === "old") return `${TokenWatt.duration(seen.age)} old`;
    if (spec.energy) return seen.value > 0 ? `${TokenWatt.write("kilowatt_hours", 1e6 / seen.value)} per M tok` : "";
    if (!spec.side) return change(spec, seen.value, live.history);
    const other = number(live, spec.side.number);
    const shown = read(other);
    if (shown.value === undefined || (spec.side.form === "cost" && shown.value === 0)) return "";
    const words = spec.side.form === "cost" ? TokenWatt.money(shown.value, other) : write(spec.side.form, shown.value);
    return spec.side.text.replace("{}", words);
  }

  const number = (live, name) => live.snapshot.numbers[name];

  TokenWatt.widgets.tile = function (node, spec, live) {
    if (node.trend && TokenWatt.shows(node.trend, live)) return;
    const shown = number(live, spec.number);
    const seen = read(shown);
    const bounded = number(live, spec.bound ? spec.bound.number : spec.number);
    const edge = (v) => (spec.bound ? write(spec.bound.form, v) : format(spec.form, v, seen.value).text);
    const bound = TokenWatt.bound(bounded, spec.better, edge);
    const abnormal = seen.value !== undefined && bound ? bound.priority : 0;
    node.dataset.state = seen.state;
    if (abnormal) node.dataset.priority = abnormal;
    else delete node.dataset.priority;

    const main = seen.value === undefined ? { text: TokenWatt.NONE, unit: "" } : format(spec.form, seen.value);
    const unit = spec.unit ? read(number(live, spec.unit.number)) : null;
    const unitText = unit ? (unit.value === undefined ? "" : write(spec.unit.form, unit.value)) : main.unit;
    const note = seen.value === undefined ? seen.why : bound?.text || spec.note || "";
    const side = seen.value === undefined ? "" : aside(spec, seen, live);
    const trend = (node.trend ??= el("div", { class: "trend" })); // kept: its size is known
    TokenWatt.redraw(node, [
      label(spec, seen, abnormal),
      el("div", { class: `value${main.text.length > 5 || main.text.length + unitText.length > 15 ? " long" : ""}` }, el("span", { class: "number" }, main.text), el("span", { class: "unit" }, unitText)),
      el("div", { class: "under", title: note }, el("i", {}, note), el("b", {}, side)),
      trend,
    ]);
    node.title = (shown && shown.formula) || "";
    node.setAttribute("aria-label", [spec.label, main.text, unitText, note, side, abnormal ? "abnormal" : ""].filter(Boolean).join(", "));
    TokenWatt.sparkline(trend, recent(live, spec, seen.value), spec.bound ? null : bound, abnormal);
  };

  function label(spec, seen, abnormal) {
    const roomy = !TokenWatt.isWall() && !abnormal;
    const covered = seen.covered === undefined ? "" : `, ${TokenWatt.coverage(seen.covered)}${roomy ? " seen" : ""}`;
    return el(
      "div",
      { class: "label" },
      el("span", {}, spec.label),
      spec.boundary ? el("small", {}, spec.boundary + covered) : null,
      abnormal ? TokenWatt.chip(abnormal) : null,
    );
  }

  // The last hour out of the history, or else the minutes since the page was opened; the live value at the end.
  function recent(live, spec, value) {
    const values = (spec.history && live.history && live.history.series[spec.history]) || live.trail[spec.number] || [];
    const first = values.findIndex((v) => v !== null);
    const known = first < 0 ? [] : values.slice(first);
    return value === undefined ? known : known.concat([value]);
  }

  // Draws `values` (null is a gap) with the bound dashed, and the part beyond it in the colour of its priority.
  TokenWatt.sparkline = function (node, values, bound, abnormal) {
    const { width, height } = TokenWatt.room(node);
    const known = values.filter((v) => v !== null);
    if (known.length < 2 || !width || !height) return;
    const k = TokenWatt.scale();
    const colours = TokenWatt.colours();
    const edges = TokenWatt.nearEdges(bound, known.at(-1));
    const [low, high] = TokenWatt.range(known, edges);
    const x = (i) => (i / (values.length - 1)) * (width - 8 * k);
    const y = (v) => height - 6 * k - ((v - low) / (high - low)) * (height - 12 * k);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    if (edges.length === 2) picture.append(svg("rect", { x: 0, width, y: y(edges[1]), height: y(edges[0]) - y(edges[1]), fill: colours.band }));
    for (const edge of edges) {
      picture.append(svg("line", { x1: 0, x2: width, y1: y(edge), y2: y(edge), stroke: colours.faint, "stroke-width": k, "stroke-dasharray": `${3 * k} ${4 * k}` }));
    }
    const line = (test, colour, wide) => {
      const d = path(values, test, x, y);
      if (d) picture.append(svg("path", { d, fill: "none", stroke: colour, "stroke-width": wide * k, "stroke-linejoin": "round" }));
    };
    line((v) => v !== null, colours.data, 2);
    if (abnormal && edges.length) line((v) => v !== null && bound.beyond(v), TokenWatt.alarmLine(abnormal), 3);
    const last = values.findLastIndex((v) => v !== null);
    picture.append(svg("circle", { cx: x(last), cy: y(values[last]), r: 4 * k, fill: abnormal ? TokenWatt.alarmLine(abnormal) : colours.data3 }));
    TokenWatt.redraw(node, picture);
  };

  // A bound far from what is measured would press the trend flat.
  TokenWatt.nearEdges = (bound, value) => (bound ? bound.edges.filter((edge) => Math.abs(edge - value) <= 0.5 * Math.abs(value) + 1e-9) : []);

  // At least four percent of the value, so that noise does not look like an event.
  TokenWatt.range = function (known, edges) {
    const low = Math.min(...known, ...edges);
    const high = Math.max(...known, ...edges);
    const least = 0.04 * Math.max(Math.abs(low), Math.abs(high)) || 1;
    const pad = Math.max(0, (least - (high - low)) / 2) + 0.1 * (high - low);
    return [low - pad, high + pad];
  };

  // The path through the values that pass the test; a stretch begins at the value before it, so that it joins the line.
  function path(values, test, x, y) {
    let d = "";
    values.forEach((value, i) => {
      if (!test(value)) return;
      const before = i > 0 && values[i - 1] !== null;
      if (before && !test(values[i - 1])) d += `M${x(i - 1).toFixed(1)} ${y(values[i - 1]).toFixed(1)}`;
      d += `${before ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
    });
    return d;
  }
})();
