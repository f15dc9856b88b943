// The worst ports: AG Grid, community build, filled through its API; sort, filter and place stay while values change.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, fabric } = TokenWatt;
  const NONE = TokenWatt.NONE;
  const SOURCE = { measured: "m", estimated: "e", bound: "b" };
  const grid = { node: null, api: null, body: null };

  // A unit stands in the heading, once; the cells hold numbers of it. `metric` colours a cell that is beyond its limit.
  const column = (field, headerName, width, more) => ({ field, headerName, width, ...more });
  const number = (field, headerName, width, form, factor, metric) =>
    column(field, headerName, width, {
      type: "rightAligned",
      filter: "agNumberColumnFilter",
      valueGetter: ({ data }) => (data[field] === null || data[field] === undefined ? null : data[field] / factor),
      valueFormatter: ({ value }) => (value === null || value === undefined ? NONE : TokenWatt.format(form, value * factor).text),
      headerTooltip: headerName,
      cellClass: ({ data }) => ["ag-right-aligned-cell", "figure", data[field] === null ? "none" : "", metric && data.judged[metric] ? `is-p${data.judged[metric]}` : ""],
      comparator: absentLast,
      sortingOrder: ["desc", "asc", null],
    });

  // What is not known is below everything, whichever way round.
  function absentLast(a, b, nodeA, nodeB, descending) {
    if (a === b) return 0;
    if (a === null || b === null) return (a === null ? 1 : -1) * (descending ? -1 : 1);
    return a - b;
  }

  // A chip is a drawing, so it is a component; the grid keeps it and tells it when its row has changed.
  class Chip {
    init(params) {
      this.gui = el("span", { class: "chip-cell" });
      this.refresh(params);
    }
    getGui() {
      return this.gui;
    }
    refresh({ data }) {
      TokenWatt.refill(this.gui, String(data.priority), () => (data.priority ? TokenWatt.chip(data.priority) : el("span", { class: "calm" }, "\u2009")));
      return true;
    }
  }
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
    column("priority", "", 56, { cellRenderer: Chip, comparator: (a, b) => (a || 9) - (b || 9), headerTooltip: "Priority", pinned: "left", resizable: false, filter: "agNumberColumnFilter", suppressHeaderMenuButton: true }),
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

  // Pinned columns would leave a phone no room for the others.
  function columns() {
    return innerWidth < 800 ? COLUMNS.map((one) => ({ ...one, pinned: null })) : COLUMNS;
  }

  const openRow = ({ data }) => data && fabric.open(data.switch, data.interface);

  function settle(api) {
    api.updateGridOptions({
      defaultColDef: { sortable: true, resizable: true, filter: "agTextColumnFilter", suppressMovable: true, minWidth: 48 },
      columnDefs: columns(),
      overlayNoRowsTemplate: "",
      rowHeight: 36,
      headerHeight: 36,
    });
    api.addEventListener("rowClicked", openRow);
    api.addEventListener("cellKeyDown", (event) => event.event.key === "Enter" && openRow(event));
    api.addEventListener("filterChanged", tellCount);
  }

  // The page may have been left and opened again: then it is another grid.
  async function reach(id) {
    const node = document.getElementById(id);
    if (!node || grid.node === node) return;
    Object.assign(grid, { node, api: null, body: null });
    const api = await window.dash_ag_grid.getApiAsync(id);
    if (grid.node !== node) return;
    settle(api);
    grid.api = api;
    TokenWatt.paint();
  }

  function tellCount() {
    const aside = document.querySelector(".worst .aside");
    const { body, api } = grid;
    if (!aside || !body || !api) return;
    const shown = api.getDisplayedRowCount();
    const all = body.worst.length;
    aside.textContent = `${fabric.plural(fabric.abnormal.length, "abnormal port")}${shown < all ? ` · ${TokenWatt.count(shown)} of ${TokenWatt.count(all)} shown` : ""}`;
  }

  function toolbar(node) {
    const search = el("input", { type: "search", placeholder: "Filter ports", "aria-label": "Filter ports", autocomplete: "off", spellcheck: "false" });
    const only = el("input", { type: "checkbox" });
    search.addEventListener("input", () => grid.api?.setGridOption("quickFilterText", search.value));
    only.addEventListener("change", async () => {
      await grid.api?.setColumnFilterModel("priority", only.checked ? { type: "notBlank" } : null);
      grid.api?.onFilterChanged();
    });
    node.append(search, el("label", {}, only, "Abnormal only"), el("span", { class: "key" }, "Pause: ", el("b", {}, "m"), " measured, ", el("b", {}, "e"), " estimated, ", el("b", {}, "b"), " upper bound"));
  }

  TokenWatt.widgets.worst = function (node, spec) {
    if (!node.firstChild) toolbar(node);
    reach(spec.table);
    if (!grid.api || !fabric.body || grid.api.isDestroyed()) return;
    if (grid.body !== fabric.body) {
      grid.body = fabric.body;
      grid.api.setGridOption("rowData", rows(fabric.body));
      tellCount();
    }
  };
})();
