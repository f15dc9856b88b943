// Where every port lies on the picture: a block per switch, its ports in lines of 32, in groups of eight as on the box.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const WIDE_PX = 700;
  const LEAST_PX = 9;
  const MOST_PX = 62;
  const GROUP = 8;
  const LOWEST = 0.7;

  // One block's measures when `columns` blocks share the width.
  function blocks(switches, { width, k, far }, columns, perLine) {
    const gap = { x: (far ? 40 : 28) * k, y: (far ? 22 : 16) * k, group: 3 * k };
    const groups = Math.ceil(perLine / GROUP) - 1;
    const block = (width - (columns - 1) * gap.x) / columns;
    const cell = Math.min((far ? 2 : 1) * MOST_PX * k, (block - groups * gap.group) / perLine);
    const title = Math.max(far ? 34 * k : 14 * k, Math.min(far ? 48 * k : 22 * k, cell * 0.9)) * 1.35;
    const lines = [];
    for (let i = 0; i < switches.length; i += columns) {
      lines.push(Math.max(1, ...switches.slice(i, i + columns).map((one) => Math.ceil(one.ports.length / perLine))));
    }
    const tall = (high) => lines.reduce((sum, count) => sum + title + count * high + gap.y, -gap.y);
    return { columns, perLine, gap, block, cell, title, lines, tall };
  }

  // A little taller or lower than wide, so that a few switches fill what is there.
  function stretch(plan, height) {
    const count = plan.lines.reduce((sum, n) => sum + n, 0);
    const room = (height - plan.tall(0)) / count;
    return { ...plan, high: Math.max(Math.min(plan.cell, LEAST_PX * plan.k), Math.min(plan.cell * 1.7, room)), fits: room >= Math.max(plan.cell * LOWEST, LEAST_PX * plan.k) };
  }

  // The largest cells with which all blocks fit; where none does, the smallest that can be read, and the picture scrolls.
  TokenWatt.portsPlan = function (switches, size) {
    if (!switches.length) return null;
    const perLine = size.width < WIDE_PX * size.k ? 16 : 32;
    let best = null;
    let dense = null;
    for (let columns = 1; columns <= Math.max(switches.length, 1); columns++) {
      const plan = stretch({ ...blocks(switches, size, columns, perLine), k: size.k }, size.height);
      if (plan.cell < LEAST_PX * size.k && columns > 1) break;
      dense = plan;
      if (plan.fits && (!best || plan.cell * plan.high > best.cell * best.high)) best = plan;
    }
    return place(best || { ...dense, high: dense.cell }, switches);
  };

  function place(plan, switches) {
    const tops = [];
    let y = 0;
    for (const count of plan.lines) {
      tops.push(y);
      y += plan.title + count * plan.high + plan.gap.y;
    }
    const at = switches.map((one, i) => ({ index: i, x: (i % plan.columns) * (plan.block + plan.gap.x), y: tops[Math.floor(i / plan.columns)], count: one.ports.length }));
    return { ...plan, tops, blocks: at, height: y - plan.gap.y };
  }

  // A port's cell, less the gap that parts it from the next.
  TokenWatt.portBox = function (plan, block, port, gap) {
    const column = port % plan.perLine;
    return {
      x: block.x + column * plan.cell + Math.floor(column / GROUP) * plan.gap.group,
      y: block.y + plan.title + Math.floor(port / plan.perLine) * plan.high,
      width: plan.cell - gap,
      height: plan.high - gap,
    };
  };

  // The port under a point of the picture: {block, port}, or null between them.
  TokenWatt.portAt = function (plan, x, y) {
    const line = plan.tops.findLastIndex((top) => y >= top);
    const block = plan.blocks[line * plan.columns + Math.floor(x / (plan.block + plan.gap.x))];
    if (!block || x < block.x) return null;
    const group = GROUP * plan.cell + plan.gap.group;
    const into = x - block.x;
    const column = Math.floor(into / group) * GROUP + Math.min(GROUP - 1, Math.floor((into % group) / plan.cell));
    const row = Math.floor((y - block.y - plan.title) / plan.high);
    const port = row * plan.perLine + column;
    return row >= 0 && column < plan.perLine && port < block.count ? { block, port } : null;
  };
})();
