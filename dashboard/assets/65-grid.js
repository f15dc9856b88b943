// What tables of many rows have in common: AG Grid, community build, filled through its API; sort, filter and place stay.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el } = TokenWatt;

  const column = (field, headerName, width, more) => ({ field, headerName, width, ...more });

  // A unit stands in the heading, once; the cells hold numbers of it. `judge` gives the priority of a cell beyond its limit.
  const number = (field, headerName, width, form, factor, judge) =>
    column(field, headerName, width, {
      type: "rightAligned",
      filter: "agNumberColumnFilter",
      valueGetter: ({ data }) => (data[field] === null || data[field] === undefined ? null : data[field] / factor),
      valueFormatter: ({ value }) => (value === null || value === undefined ? TokenWatt.NONE : TokenWatt.format(form, value * factor).text),
      headerTooltip: headerName,
      cellClass: ({ data }) => ["ag-right-aligned-cell", "figure", data[field] === null ? "none" : "", judge && judge(data) ? `is-p${judge(data)}` : ""],
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

  const chip = { cellRenderer: Chip, comparator: (a, b) => (a || 9) - (b || 9), headerTooltip: "Priority", pinned: "left", resizable: false, filter: "agNumberColumnFilter", suppressHeaderMenuButton: true };

  function settle(api, columns, open, filtered) {
    api.updateGridOptions({
      defaultColDef: { sortable: true, resizable: true, filter: "agTextColumnFilter", suppressMovable: true, minWidth: 48 },
      // Pinned columns would leave a phone no room for the others.
      columnDefs: innerWidth < 800 ? columns.map((one) => ({ ...one, pinned: null })) : columns,
      overlayNoRowsTemplate: "",
      rowHeight: 36,
      headerHeight: 36,
    });
    const row = ({ data }) => data && open(data);
    if (filtered) api.addEventListener("filterChanged", filtered);
    api.addEventListener("rowClicked", row);
    api.addEventListener("cellKeyDown", (event) => event.event.key === "Enter" && row(event));
  }

  // The page may have been left and opened again: then it is another grid. `held` keeps the one that there is.
  async function reach(id, held, columns, open, filtered) {
    const node = document.getElementById(id);
    if (!node || held.node === node) return;
    Object.assign(held, { node, api: null, body: null });
    const api = await window.dash_ag_grid.getApiAsync(id);
    if (held.node !== node) return;
    settle(api, columns, open, filtered);
    held.api = api;
    TokenWatt.paint();
  }

  TokenWatt.grid = { column, number, chip, reach };
})();
