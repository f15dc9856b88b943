// Where every GPU lies on the floor picture: rows of racks of cells, for eight GPUs in one rack to ten thousand in 143.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const MAX_BLOCKS = 4;
  const MAX_FOLDS = 4;

  // Rows that hold GPUs, with the racks that do: a network row has nothing to show here.
  function gpuRows(layout) {
    return layout.rows
      .map((row) => ({ name: row.name, racks: row.racks.filter((rack) => rack.count > 0) }))
      .filter((row) => row.racks.length);
  }

  // A long row is folded into lines of `most` racks; only its first line carries the row's name.
  function fold(rows, most) {
    return rows.flatMap((row) => {
      const lines = [];
      for (let i = 0; i < row.racks.length; i += most) {
        lines.push({ name: i ? "" : row.name, racks: row.racks.slice(i, i + most) });
      }
      return lines;
    });
  }

  // Columns of cells in a rack: as square as can be, and no ragged last line where it can be had.
  function columns(count, width, height) {
    let best = { score: -Infinity };
    for (let cols = 1; cols <= count; cols++) {
      const lines = Math.ceil(count / cols);
      const shape = Math.abs(Math.log(width / cols / (height / lines)));
      const ragged = cols * lines - count;
      const score = -shape - ragged * 0.3;
      if (score > best.score) best = { score, cols, lines };
    }
    return best;
  }

  // "01" of "A01" when every row numbers its racks alike; then one heading serves the whole column.
  function headings(rows) {
    const suffix = (row, rack) => (rack.name.startsWith(row.name) ? rack.name.slice(row.name.length).replace(/^[-_ ]/, "") : null);
    const longest = rows.reduce((a, b) => (b.racks.length > a.racks.length ? b : a));
    const names = longest.racks.map((rack) => suffix(longest, rack));
    const alike = rows.every((row) => row.racks.every((rack, i) => names[i] && suffix(row, rack) === names[i]));
    return alike ? names : null;
  }

  function measure(rows, most, blocks, size, names) {
    const k = size.k;
    const lines = fold(rows, most);
    const perBlock = Math.ceil(lines.length / blocks);
    const widest = Math.max(...lines.map((line) => line.racks.length));
    const labelled = names && blocks * widest >= names.length && lines.length === rows.length ? "column" : "rack";
    const text = (size.far ? 30 : 18) * k;
    const margin = { left: (size.far ? 44 : 32) * k, top: labelled === "column" ? text + 8 * k : 0, line: labelled === "rack" ? text + 6 * k : 0, edge: 8 * k };
    const blockWidth = (size.width - (blocks - 1) * 24 * k) / blocks;
    const gap = (room, count) => Math.min(24 * k, Math.max(3 * k, (room / count) * 0.09));
    const roomX = blockWidth - margin.left - margin.edge;
    const roomY = size.height - margin.top - margin.edge;
    const gapX = gap(roomX, widest);
    const gapY = Math.max(gap(roomY, perBlock), Math.min(8 * k, (roomY / perBlock) * 0.2));
    const pitchX = (roomX + gapX) / widest;
    const pitchY = (roomY + gapY) / perBlock;
    const rack = { width: pitchX - gapX, height: pitchY - gapY - margin.line };
    const fullest = Math.max(...lines.flatMap((line) => line.racks.map((r) => r.count)));
    const grid = columns(fullest, rack.width, Math.max(1, rack.height));
    const cell = { width: rack.width / grid.cols, height: rack.height / grid.lines };
    const smallest = Math.min(cell.width, cell.height);
    return { lines, perBlock, blocks, blockWidth, margin, pitchX, pitchY, rack, grid, cell, smallest, labelled, names, text };
  }

  // The plan that makes the cells largest; folding rows or setting them side by side must be worth it.
  TokenWatt.floorPlan = function (layout, size) {
    const rows = gpuRows(layout);
    if (!rows.length) return null;
    const names = headings(rows);
    const longest = Math.max(...rows.map((row) => row.racks.length));
    let best = null;
    for (let folds = 1; folds <= MAX_FOLDS; folds++) {
      for (let blocks = 1; blocks <= MAX_BLOCKS; blocks++) {
        if (blocks > 1 && blocks > rows.length) break;
        const plan = measure(rows, Math.ceil(longest / folds), blocks, size, names);
        if (!best || plan.smallest > best.smallest * 1.25) best = plan;
      }
    }
    return place(best, size);
  };

  function place(plan, size) {
    const racks = [];
    const rowLabels = [];
    const headingsAt = [];
    plan.lines.forEach((line, i) => {
      const block = Math.floor(i / plan.perBlock);
      const left = block * (plan.blockWidth + 24 * size.k);
      const top = plan.margin.top + (i % plan.perBlock) * plan.pitchY + plan.margin.line;
      rowLabels.push({ text: line.name, x: left, y: top + plan.rack.height / 2 });
      line.racks.forEach((rack, j) => {
        const x = left + plan.margin.left + j * plan.pitchX;
        racks.push({ ...rack, row: line.name, line: i, column: j, x, y: top });
        if (plan.labelled === "rack") headingsAt.push({ text: rack.name, x: x + plan.rack.width / 2, y: top - plan.margin.line / 2 });
        else if (i % plan.perBlock === 0) headingsAt.push({ text: plan.names[j], x: x + plan.rack.width / 2, y: plan.margin.top / 2 - 2 * size.k });
      });
    });
    return { ...plan, racks, rowLabels, headings: headingsAt, size };
  }

  // The GPU under a point of the picture: {rack, index, gpu}, or null between cells.
  TokenWatt.gpuAt = function (plan, x, y) {
    const { rack: box, cell, grid } = plan;
    const rack = plan.racks.find((r) => x >= r.x && x < r.x + box.width && y >= r.y && y < r.y + box.height);
    if (!rack) return null;
    const index = Math.floor((y - rack.y) / cell.height) * grid.cols + Math.floor((x - rack.x) / cell.width);
    return index < rack.count ? { rack, index, gpu: rack.start + index } : null;
  };
})();
