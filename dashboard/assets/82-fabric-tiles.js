// The fabric in six tiles: what is counted here comes from the same answer as the picture below them.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, write, count } = TokenWatt;
  const CALM = ["ok", "maintenance"];
  const words = (state) => state.replaceAll("_", " ");

  // As its alarm has it: an operator who compares the two finds one truth.
  TokenWatt.fabric.switchPriority = (one) => (CALM.includes(one.state) ? 0 : one.state === "partial" ? 4 : 3);
  // An advisory is no alarm: it frames no tile.
  const gravest = (priorities) => Math.min(...priorities.filter((one) => one && one < 4), 9) % 9;
  const place = (port) => `${port.switch} ${port.alias || port.interface}`;
  // How many of each, the graver first; nothing is said of nothing.
  const told = (pairs) => pairs.filter(([n]) => n > 0).map(([n, word]) => `${count(n)} ${word}`).join(" · ");

  function most(ports, field) {
    return ports.reduce((best, port) => (port[field] !== null && port[field] !== undefined && (!best || port[field] > best[field]) ? port : best), null);
  }

  const TILES = {
    switches({ summary }) {
      const { switches } = TokenWatt.fabric;
      const bad = switches.filter((one) => one.state !== "ok").sort((a, b) => TokenWatt.fabric.switchPriority(a) - TokenWatt.fabric.switchPriority(b));
      const more = bad.length > 1 ? ` + ${bad.length - 1}` : "";
      return { text: count(summary.switches_ok), unit: `of ${count(summary.switches)}`, note: bad.length ? `${bad[0].name} ${words(bad[0].state)}${more}` : "all answer in full", priority: gravest(bad.map(TokenWatt.fabric.switchPriority)) };
    },
    ports({ summary }) {
      const { up, ports, down, unknown, admin_down: off } = summary;
      const dead = TokenWatt.fabric.abnormal.filter((port) => port.state === "down");
      return { text: count(up), unit: `of ${count(ports)}`, note: told([[down, "down"], [unknown, "unknown"], [off, "admin down"]]) || "none down", priority: down ? gravest(dead.map((port) => port.priority)) || 2 : 0 };
    },
    abnormal() {
      const { abnormal } = TokenWatt.fabric;
      const hosts = new Map(abnormal.filter((port) => port.gpus).map((port) => [port.neighbor, port.gpus]));
      const gpus = [...hosts.values()].reduce((sum, n) => sum + n, 0);
      const by = [1, 2, 3, 4].map((priority) => [abnormal.filter((port) => port.priority === priority).length, TokenWatt.priorityName(priority).toLowerCase()]);
      return { text: count(abnormal.length), unit: gpus ? `${count(gpus)} GPUs behind` : "", note: told(by) || "all within their limits", priority: gravest(abnormal.map((port) => port.priority)) };
    },
    pause: ({ metrics, worst }) => ofPort(most(worst, "pause_ratio"), "pause_ratio", "share", metrics),
    busiest: ({ metrics, worst }) => ofPort(most(worst, "utilization"), "utilization", "percent", metrics),
    power({ summary }) {
      const { switches } = TokenWatt.fabric;
      if (summary.watts === null) return { text: TokenWatt.NONE, unit: "", note: "no switch reports its power", state: "withheld" };
      const { text, unit } = TokenWatt.format("power", summary.watts);
      const seen = switches.filter((one) => one.watts !== null).length;
      return { text, unit, note: summary.watts_note, side: seen < switches.length ? `${count(seen)} of ${count(switches.length)}` : "", state: seen < switches.length ? "partial" : "ok" };
    },
  };

  function ofPort(port, field, form, metrics) {
    if (!port) return { text: TokenWatt.NONE, unit: "", note: "not collected", state: "withheld" };
    const metric = metrics.find((one) => one.name === field);
    const { text, unit } = TokenWatt.format(form, port[field]);
    return { text, unit, note: place(port), side: metric ? TokenWatt.fabric.limit(metric) : "", priority: metric && TokenWatt.fabric.judge(metric, port[field]) ? gravest([port.priority]) : 0 };
  }

  TokenWatt.widgets.fabric_tile = function (node, spec) {
    const { body } = TokenWatt.fabric;
    const shown = body ? TILES[spec.show](body) : { text: TokenWatt.NONE, unit: "", note: "", state: "absent" };
    node.dataset.state = shown.state || "ok";
    if (shown.priority) node.dataset.priority = shown.priority;
    else delete node.dataset.priority;
    TokenWatt.refill(node, JSON.stringify(shown), () => [
      el("div", { class: "label" }, el("span", {}, spec.label), shown.priority ? TokenWatt.chip(shown.priority) : null),
      el("div", { class: `value${shown.text.length > 5 || shown.text.length + shown.unit.length > 15 ? " long" : ""}` }, el("span", { class: "number" }, shown.text), el("span", { class: "unit" }, shown.unit)),
      el("div", { class: "under", title: shown.note }, el("i", {}, shown.note), el("b", {}, shown.side || "")),
    ]);
    node.setAttribute("aria-label", [spec.label, shown.text, shown.unit, shown.note, shown.side, shown.priority ? "abnormal" : ""].filter(Boolean).join(", "));
  };

  // One metric of all ports: buttons, arrow keys among them, m for the next from anywhere on the page.
  function step(by) {
    const { metrics, metric } = TokenWatt.fabric.body;
    const at = metrics.findIndex((one) => one.name === (TokenWatt.fabric.wanted || metric));
    TokenWatt.fabric.choose(metrics[(at + by + metrics.length) % metrics.length].name);
  }

  function button(metric, chosen) {
    const made = el("button", { type: "button", role: "radio", "aria-checked": String(chosen), tabindex: chosen ? 0 : -1, title: metric.help, "data-metric": metric.name }, metric.title);
    made.addEventListener("click", () => TokenWatt.fabric.choose(metric.name));
    return made;
  }

  TokenWatt.widgets.metrics = function (node) {
    const { body } = TokenWatt.fabric;
    if (!body) return;
    node.setAttribute("role", "radiogroup");
    node.setAttribute("aria-label", "Metric");
    const focused = node.contains(document.activeElement);
    TokenWatt.refill(node, `${body.metric} ${body.metrics.length}`, () => body.metrics.map((metric) => button(metric, metric.name === body.metric)));
    if (focused && !node.contains(document.activeElement)) node.querySelector("[aria-checked=true]").focus();
  };

  document.addEventListener("keydown", (event) => {
    if (!TokenWatt.fabric.body || !document.querySelector("main.fabric") || event.metaKey || event.ctrlKey || event.altKey) return;
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (by && event.target.closest?.(".metrics")) {
      event.preventDefault();
      step(by);
    } else if (event.key.toLowerCase() === "m" && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) step(event.shiftKey ? -1 : 1);
  });
})();
