// The worst ports: AG Grid, community build, filled through its API; sort, filter and place stay while values change.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, fabric } = TokenWatt;
  const NONE = TokenWatt.NONE;
  const SOURCE = { measured: "m", estimated: "e", bound: "b" };
  const held = { node: null, api: null, body: null };

  // `metric` colours a cell that is beyond its limit.
  const { column, chip, reach } = TokenWatt.grid;
  const number = (field, name, width, form, factor, metric) => TokenWatt.grid.number(field, name, width, form, factor, metric && ((data) => data.judged[metric]));

  class Pause {
    init(params) {
      this.gui = el("span", {});
      this.refresh(params);
    }
    getGui() {
      return this.gui;
    }
    refresh({ data }) {
      const value = data.pause_ratio;
      const label = SOURCE[data.pause_source];
      TokenWatt.refill(this.gui, `${value} ${label}`, () => [
        value === null ? NONE : TokenWatt.format("share", value).text,
        value === null || !label ? null : el("sup", { title: data.pause_source === "bound" ? "upper bound" : data.pause_source, class: "source-mark" }, label),
      ].filter((part) => part !== null));
      return true;
    }
  }

  const neighbour = ({ data }) => [data.neighbor, data.neighbor_interface].filter(Boolean).join(" ");
  const COLUMNS = [
    column("priority", "", 52, chip),
    column("switch", "Switch", 104, { pinned: "left", cellClass: "strong" }),
    column("interface", "Port", 128, { pinned: "left", cellClass: "strong", comparator: (a, b) => a.localeCompare(b, "en", { numeric: true }), tooltipValueGetter: ({ data }) => data.alias }),
    column("neighbor", "Neighbour", 168, { valueGetter: neighbour }),
    number("gpus", "GPUs", 74, "count", 1),
    column("reason", "Reason", 230, { flex: 1, minWidth: 170, tooltipField: "reason", cellClass: ({ data }) => (data.priority ? `is-p${data.priority}` : "") }),
    number("rx_bits_per_second", "rx Gbit/s", 98, "gigabits", 1e9),
    number("tx_bits_per_second", "tx Gbit/s", 98, "gigabits", 1e9),
    number("utilization", "Used %", 84, "percent", 0.01, "utilization"),
    number("discard_ppm", "Discards ppm", 128, "ppm", 1, "discard_ppm"),
    number("error_ppm", "Errors ppm", 100, "ppm", 1, "error_ppm"),
    { ...number("pause_ratio", "Pause %", 92, "share", 0.01, "pause_ratio"), cellRenderer: Pause },
    number("ecn_ratio", "ECN %", 80, "share", 0.01, "ecn_ratio"),
    number("pre_fec_ber", "Pre-FEC BER", 116, "ber", 1, "pre_fec_ber"),
    number("flaps_per_hour", "Flaps /h", 86, "per_hour", 1, "flaps_per_hour"),
    number("optics_margin_db", "Optics dB", 94, "decibels", 1, "optics_margin_db"),
    number("age", "Age s", 76, "count", 1),
  ];
  function rows(body) {
    return body.worst.map((port) => ({
      ...port,
      id: fabric.key(port.switch, port.interface),
      age: fabric.age(port.age),
      judged: Object.fromEntries(body.metrics.map((metric) => [metric.name, fabric.judge(metric, port[metric.name])])),
    }));
  }

  const openRow = ({ switch: name, interface: port }) => fabric.open(name, port);

  function tellCount() {
    const aside = document.querySelector(".worst .aside");
    const { body, api } = held;
    if (!aside || !body || !api) return;
    const shown = api.getDisplayedRowCount();
    const all = body.worst.length;
    aside.textContent = `${fabric.plural(fabric.abnormal.length, "abnormal port")}${shown < all ? ` · ${TokenWatt.count(shown)} of ${TokenWatt.count(all)} shown` : ""}`;
  }

  function toolbar(node) {
    const search = el("input", { type: "search", placeholder: "Filter ports", "aria-label": "Filter ports", autocomplete: "off", spellcheck: "false" });
    const only = el("input", { type: "checkbox" });
    search.addEventListener("input", () => held.api?.setGridOption("quickFilterText", search.value));
    only.addEventListener("change", async () => {
      await held.api?.setColumnFilterModel("priority", only.checked ? { type: "notBlank" } : null);
      held.api?.onFilterChanged();
    });
    node.append(search, el("label", {}, only, "Abnormal only"), el("span", { class: "key" }, "Pause: ", el("b", {}, "m"), " measured, ", el("b", {}, "e"), " estimated, ", el("b", {}, "b"), " upper bound"));
  }

  TokenWatt.widgets.worst = function (node, spec) {
    if (!node.firstChild) toolbar(node);
    reach(spec.table, held, COLUMNS, openRow, tellCount);
    if (!held.api || !fabric.body || held.api.isDestroyed()) return;
    if (held.body !== fabric.body) {
      held.body = fabric.body;
      held.api.setGridOption("rowData", rows(fabric.body));
      tellCount();
    }
  };
})();
