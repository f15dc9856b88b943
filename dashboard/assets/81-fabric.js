// The fabric's own feed: asked for while its page is open, and what of it is asked for stands in the address.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const TIMEOUT_MS = 5000;
  // Half of what the server takes to make the next, three times its period, twice the slowest poll of a switch.
  const LIMITS = { period: 5, late: 30, dataLate: 60, lost: 120 };

  const query = () => new URLSearchParams(location.search);
  // `body` is what is drawn: a metric that was asked for and did not come yet changes nothing.
  const fabric = (TokenWatt.fabric = { body: null, at: null, wanted: null, ports: new Map() });
  let feed = null;

  // Options go into the address: a panel reloads to what it showed. Without `step` there is no way back to the last one.
  fabric.option = (name) => query().get(name) || "";
  fabric.setOptions = function (options, step) {
    const all = query();
    for (const [name, value] of Object.entries(options)) value ? all.set(name, value) : all.delete(name);
    const text = all.toString().replace(/=(?=&|$)/g, "");
    const address = location.pathname + (text ? `?${text}` : "");
    if (step) history.pushState({ ...history.state, step }, "", address);
    else history.replaceState(history.state, "", address);
  };

  fabric.key = (name, port) => `${name} ${port}`;
  fabric.metric = () => fabric.body.metrics.find((metric) => metric.name === fabric.body.metric);
  // Seconds since a device told of what was `age` old when the server looked.
  fabric.age = (age) => (age === null || age === undefined ? null : age + Math.max(0, TokenWatt.now() - fabric.body.time));
  const FORM = { ratio: "share", ppm: "ppm", per_hour: "per_hour", dB: "decibels", "": "ber" };
  fabric.form = (metric) => FORM[metric.unit] || "count";
  fabric.write = (metric, value) => TokenWatt.write(fabric.form(metric), value);

  // 0 within its limits, else the priority: a metric whose bad end lies below its warning is bad when it is low.
  fabric.judge = function (metric, value) {
    if (value === null || value === undefined) return 0;
    const sign = metric.bad !== null && metric.warn !== null && metric.bad < metric.warn ? -1 : 1;
    const beyond = (edge) => edge !== null && edge !== undefined && value * sign >= edge * sign;
    return beyond(metric.bad) ? 2 : beyond(metric.warn) ? 3 : 0;
  };
  // A bound is a round number and is written as one: 5 %, not 5.00 %.
  fabric.writeBound = (metric, value) => fabric.write(metric, value).replace(/\.0+(?!\d)|(\.\d*?)0+(?!\d)/, "$1");
  fabric.limit = (metric) => (metric.warn === null ? "" : `limit ${metric.bad < metric.warn ? "≥" : "≤"} ${fabric.writeBound(metric, metric.warn)}`);

  // Every abnormal port is among the worst, whatever the metric that is drawn.
  function accept(body) {
    fabric.body = body;
    fabric.ports = new Map(body.worst.map((port) => [fabric.key(port.switch, port.interface), port]));
    fabric.abnormal = body.worst.filter((port) => port.priority);
    // A switch that is polled under several names counts under one of them.
    fabric.switches = body.switches.filter((one) => !one.same_as);
  }

  function address() {
    const metric = fabric.wanted || fabric.option("metric");
    return `/api/v1/fabric${metric ? `?metric=${encodeURIComponent(metric)}` : ""}`;
  }

  // The address changed under the page: back, forward.
  fabric.moved = function () {
    fabric.wanted = null;
    if (fabric.body && address() !== feed?.url) fabric.refresh();
    TokenWatt.paint();
  };

  async function ask() {
    const url = address();
    if (!feed || feed.url !== url) feed = { ...TokenWatt.feed(url, TIMEOUT_MS), at: fabric.at };
    const mine = feed;
    const body = await TokenWatt.ask(mine);
    if (mine !== feed) return; // another metric was chosen meanwhile
    fabric.at = mine.at;
    if (mine.status === 400) fabric.choose(""); // a metric that this server does not know, from an old address
    if (!body) return;
    accept(body);
    TokenWatt.paint();
  }

  const page = TokenWatt.ownPage({ name: "fabric", limits: LIMITS, ask, moved: () => fabric.moved() });
  fabric.refresh = page.refresh;

  fabric.choose = function (name) {
    fabric.wanted = name;
    fabric.setOptions({ metric: name });
    fabric.refresh();
  };

  // The state of what is drawn: null on other pages, where it does not count.
  fabric.freshness = () => page.freshness(fabric.body?.data_time === null ? null : fabric.body, fabric.at);

  const plural = (count, one, many) => `${TokenWatt.count(count)} ${count === 1 ? one : many || `${one}s`}`;
  fabric.plural = plural;

  TokenWatt.widgets.fabric_note = function (node) {
    const { body } = fabric;
    if (!body) {
      node.textContent = "Waiting for the first answer";
      return;
    }
    const { switches, ports, unknown } = body.summary;
    const silent = fabric.switches.filter((one) => ["silent", "unreachable", "unauthorised"].includes(one.state)).length;
    const told = `${TokenWatt.count(switches - silent)} of ${plural(switches, "switch", "switches")}, ${TokenWatt.count(ports - unknown)} of ${plural(ports, "port")} seen`;
    node.textContent = body.data_time === null ? "No switch reports" : `values up to ${TokenWatt.clock(body.data_time)} UTC · ${told}`;
  };
})();
