// Power and coolant, the facility's own feed: asked for once per tick while its page is open, drawn by all its widgets.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el } = TokenWatt;
  const TIMEOUT_MS = 3000;
  // As often as the server makes it, three of its periods, three times the slowest poll.
  const LIMITS = { period: 2, late: 6, dataLate: 20, lost: 60 };
  const SMALL_WIDTH = 700;

  const facility = (TokenWatt.facility = { body: null, columns: {} });
  let feed = null;

  const known = (facility.known = (value) => value !== null && value !== undefined);
  facility.isSmall = (node) => TokenWatt.room(node).width < SMALL_WIDTH * TokenWatt.scale();

  function accept(body) {
    facility.body = body;
    facility.columns = Object.fromEntries(body.supply_columns.map((name, i) => [name, i]));
  }

  async function ask() {
    feed ??= TokenWatt.feed("/api/v1/facility", TIMEOUT_MS);
    const body = await TokenWatt.ask(feed);
    if (!body) return;
    accept(body);
    TokenWatt.paint();
  }

  const page = TokenWatt.ownPage({ name: "facilities", limits: LIMITS, ask, moved: () => TokenWatt.paint() });
  // The state of what is drawn: null on other pages, and where nothing of power and coolant was ever told.
  facility.freshness = () => (facility.body?.data_time === null ? null : page.freshness(facility.body, feed?.at));

  // What is wrong is what an alarm says: an operator who compares the two finds one truth. 0 where there is none.
  const told = { alarms: null, of: new Map() };
  function alarmsOf(object) {
    const { alarms } = TokenWatt.live.snapshot;
    if (told.alarms !== alarms) {
      Object.assign(told, { alarms, of: new Map() });
      for (const alarm of TokenWatt.sortAlarms(alarms)) told.of.set(alarm.object, [...(told.of.get(alarm.object) || []), alarm]);
    }
    return told.of.get(object) || [];
  }
  facility.alarm = function (rules, ...objects) {
    const found = objects.flatMap(alarmsOf).filter((alarm) => !rules || rules.includes(alarm.rule));
    return found.length > 1 ? TokenWatt.sortAlarms(found)[0] : found[0];
  };
  facility.priority = (rules, ...objects) => facility.alarm(rules, ...objects)?.priority || 0;

  // Why a value is not there: "" where nothing says so.
  facility.leftOut = function (word, ...devices) {
    const { checks, refused } = facility.body;
    const out = checks.some((check) => devices.includes(check.device) && check.subject.includes(word)) || facility.refusal(word, refused, devices);
    return out ? "reading left out" : "";
  };
  facility.refusal = (word, refused, devices) => refused.find((one) => devices.includes(one.device) && one.text.startsWith(word));

  // The warning limit of a rule, where the server tells it.
  facility.limit = (rule) => facility.body.limits?.[rule]?.warning ?? null;

  // What the drawings show of the alarms: each snapshot has a list of its own, which mostly says the same.
  const said = { alarms: null, key: "" };
  facility.alarmsKey = function () {
    const { alarms } = TokenWatt.live.snapshot;
    if (said.alarms !== alarms) Object.assign(said, { alarms, key: alarms.map((a) => [a.rule, a.object, a.priority, a.ack]).join(";") });
    return said.key;
  };

  // Draws when the answer, the alarms, the theme or the room have changed, and not at every paint.
  facility.drawing = function (node, live, draw, ...more) {
    const { body } = facility;
    if (!body) {
      TokenWatt.refill(node, "waiting", () => el("p", { class: "empty" }, "Waiting for the first answer"));
      return;
    }
    const key = [facility.alarmsKey(), ...Object.values(TokenWatt.room(node)), document.documentElement.dataset.theme, ...more].join("|");
    if (node.drawn === body && node.drawnKey === key) return;
    Object.assign(node, { drawn: body, drawnKey: key });
    if (node.dataset.key) {
      delete node.dataset.key;
      node.replaceChildren();
    }
    TokenWatt.redraw(node, draw(body));
    TokenWatt.tellAges();
  };

  facility.since = (age, more) => (known(age) ? el("span", { "data-since": facility.body.time - age, ...more }) : TokenWatt.NONE);
  const share = (ratio, decimals) => (ratio * 100).toFixed(decimals ?? 0).replace(/^-(?=[0.]+$)/, "").replace("-", "\u2212");
  facility.percent = (ratio, decimals) => (known(ratio) ? `${share(ratio, decimals)} %` : TokenWatt.NONE);
  facility.signed = (ratio, decimals) => (known(ratio) ? `${ratio > 0 && Number(share(ratio, decimals)) ? "+" : ""}${share(ratio, decimals)} %` : TokenWatt.NONE);
  // "50.3" of a low bus, "799" of a high one: the same share of either.
  facility.volts = (value, like) => (known(value) ? `${value.toFixed(Math.abs(like ?? value) < 100 ? 2 : 1).replace("-", "\u2212")} V` : TokenWatt.NONE);
  facility.inked = (priority, ...words) => el("span", { class: priority ? `state is-p${priority}` : "state" }, priority ? TokenWatt.chip(priority) : null, ...words);
  facility.fact = (name, words, priority, note) =>
    el("div", { class: "fact" }, el("dt", {}, name), el("dd", { class: priority ? `is-p${priority}` : null }, priority ? TokenWatt.chip(priority) : null, words, note ? el("small", { class: "fact-note" }, note) : null));

  // What a table shows: names of columns, rows of cells; a cell is a node or text, and stands right but for `left` ones.
  facility.table = function (label, heads, rows, left) {
    const look = (i) => (left.includes(heads[i]) ? null : "right");
    return el("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": label },
      el("table", { class: "table" },
        el("thead", {}, el("tr", {}, heads.map((head, i) => el("th", { scope: "col", class: look(i) }, head)))),
        el("tbody", {}, rows.map(([first, ...cells]) => el("tr", {}, el("th", { scope: "row" }, first), cells.map((cell, i) => el("td", { class: look(i + 1) }, cell)))))));
  };

  const plural = (count, one, many) => `${TokenWatt.count(count)} ${count === 1 ? one : many || `${one}s`}`;
  facility.plural = plural;

  TokenWatt.widgets.facility_note = function (node) {
    const { body } = facility;
    if (!body) {
      TokenWatt.setText(node, "Waiting for the first answer");
      return;
    }
    const { racks, racks_metered: metered, supplies, units, parts_silent: silent, coverage } = body.summary;
    if (body.data_time === null) {
      TokenWatt.setText(node, "No power or coolant device reports");
      return;
    }
    const seen = [`${TokenWatt.count(metered)} of ${plural(racks, "rack")} metered`, supplies ? plural(supplies, "supply", "supplies") : "", units ? plural(units, "coolant unit") : "", silent ? `${plural(silent, "part")} silent` : "", coverage < 1 ? `${TokenWatt.coverage(coverage)} covered` : ""];
    TokenWatt.setText(node, `values up to ${TokenWatt.clock(body.data_time)} UTC · ${seen.filter(Boolean).join(", ")}`);
  };
})();
