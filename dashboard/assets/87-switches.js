// How well each switch can be seen: state, the reason of its last error, how old its counters are, what it lacks.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, fabric, write, count } = TokenWatt;
  const SKEW_SECONDS = 2;
  // Without the state of any part nothing is known of it: `ok` is said of what told so.
  const LEAK = { 0: ["dry", 0], 1: ["warning", 3], 2: ["leak", 1], 3: ["detector fault", 3] };
  const known = (value) => value !== null && value !== undefined;

  const plain = (text) => el("td", { class: "right" }, text);
  // A number that is not what it should be has the colour and, for those who do not see it, the chip of its priority.
  const judged = (text, priority) => el("td", { class: `right${priority ? ` is-p${priority}` : ""}` }, priority ? el("span", { class: "state" }, TokenWatt.chip(priority), text) : text);
  const share = (ratio) => (known(ratio) ? `${count(ratio * 100)} %` : TokenWatt.NONE);
  const number = (value) => (known(value) ? count(value) : TokenWatt.NONE);

  function state(one) {
    if (one.same_as) return el("td", {}, "left out", el("small", { class: "under-name" }, `counts as ${one.same_as}`));
    const priority = fabric.switchPriority(one);
    return el("td", {}, el("span", { class: "state" }, priority ? TokenWatt.chip(priority) : null, one.state.replaceAll("_", " ")));
  }

  function counters(one) {
    const age = known(one.counter_age) ? el("span", { "data-since": fabric.body.time - one.counter_age }) : TokenWatt.NONE;
    return plain([age, known(one.refresh_seconds) ? el("small", { class: "under-name" }, `every ${write("seconds", one.refresh_seconds)}`) : ""]);
  }

  const COLUMNS = [
    ["State", state],
    ["Last error", (one) => el("td", { class: "reason" }, one.error || "")],
    ["Age", (one) => plain(known(one.age) ? el("span", { "data-since": fabric.body.time - one.age }) : TokenWatt.NONE)],
    ["Speaks", (one) => el("td", {}, one.protocol || TokenWatt.NONE)],
    ["Version", (one) => el("td", {}, (one.version || TokenWatt.NONE).replace(/^SONiC\./, ""), one.hwsku ? el("small", { class: "under-name" }, one.hwsku) : null)],
    ["Counters", counters],
    ["Poll", (one) => plain(write("seconds", one.poll_seconds))],
    ["Requests", (one) => plain(number(one.requests))],
    ["Timeouts", (one) => plain(number(one.timeouts))],
    ["Resets", (one) => plain([number(one.resets), one.reconnects > 0 ? el("small", { class: "under-name" }, fabric.plural(one.reconnects, "reconnect")) : ""])],
    ["Missing", (one) => judged(number(one.missing), one.missing > 0 ? 4 : 0)],
    ["Map", (one) => judged(one.map || TokenWatt.NONE, one.map === "stale" ? 3 : 0)],
    ["Clock", (one) => judged(write("seconds", one.clock_skew_seconds), Math.abs(one.clock_skew_seconds || 0) > SKEW_SECONDS ? 3 : 0)],
    ["Warmest", (one) => plain(write("celsius", one.temperature_celsius))],
    ["Fans", (one) => judged(known(one.fans_failed) ? (one.fans_failed ? `${count(one.fans_failed)} failed` : "ok") : TokenWatt.NONE, one.fans_failed > 0 ? 3 : 0)],
    ["Supplies", (one) => judged(known(one.supplies_failed) ? (one.supplies_failed ? `${count(one.supplies_failed)} failed` : "ok") : TokenWatt.NONE, one.supplies_failed > 0 ? 2 : 0)],
    ["Leak", (one) => judged(LEAK[one.leak]?.[0] || TokenWatt.NONE, LEAK[one.leak]?.[1] || 0)],
    ["Power", (one) => plain(write("power", one.watts))],
    ["CPU, memory", (one) => plain(known(one.cpu_ratio) || known(one.memory_ratio) ? `${share(one.cpu_ratio)} · ${share(one.memory_ratio)}` : TokenWatt.NONE)],
    ["Up", (one) => plain(known(one.uptime_seconds) ? TokenWatt.duration(one.uptime_seconds) : TokenWatt.NONE)],
  ];
  const LEFT = ["State", "Last error", "Speaks", "Version"];

  const line = (one) => el("tr", {}, el("th", { scope: "row" }, one.name, el("small", { class: "under-name" }, one.rack || "")), COLUMNS.map(([, cell]) => cell(one)));

  function hints(list) {
    if (!list.length) return null;
    return el("div", { class: "hints" }, el("h3", {}, "What a setting would mend"), el("ul", {}, list.map((text) => {
      const [name, ...said] = text.split(": ");
      return el("li", {}, said.length ? [el("b", {}, name), ` ${said.join(": ")}`] : text);
    })));
  }

  TokenWatt.widgets.switches = function (node) {
    const { body } = fabric;
    if (!body || node.drawn === body) return;
    node.drawn = body;
    const rank = (one) => (one.same_as ? 10 : fabric.switchPriority(one) || 9);
    const sorted = [...body.switches].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name, "en", { numeric: true }));
    const room = node.querySelector(".wide-table");
    const [left, top] = room ? [room.scrollLeft, room.scrollTop] : [0, 0];
    const head = el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Switch"), COLUMNS.map(([name]) => el("th", { scope: "col", class: LEFT.includes(name) ? null : "right" }, name))));
    const focused = document.activeElement === room && room;
    node.replaceChildren(
      ...[
        el("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": "Switches" }, el("table", { class: "table" }, head, el("tbody", {}, sorted.map(line)))),
        hints(body.summary.hints || []),
      ].filter(Boolean),
    );
    node.firstChild.scrollTo(left, top);
    if (focused) node.firstChild.focus({ preventScroll: true });
    const bad = fabric.switches.filter(fabric.switchPriority).length;
    const twice = sorted.length - fabric.switches.length;
    node.closest(".card").querySelector(".aside").textContent = [bad ? `${count(bad)} of ${fabric.plural(fabric.switches.length, "switch", "switches")} not seen in full` : "", twice ? `${fabric.plural(twice, "name")} left out` : ""].filter(Boolean).join(", ");
    TokenWatt.tellAges();
  };
})();
