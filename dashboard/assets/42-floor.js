// The GPU floor: a canvas for the eye, a table for screen readers, a tooltip for the pointer.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el } = TokenWatt;
  const IDLE = 200;
  const THROTTLED = 210;
  const LOST = 220;
  const NO_DATA = 240;
  const FREE = 250;
  const STATES = [
    [IDLE, "idle, allocated", "p2"],
    [THROTTLED, "throttled", "p3"],
    [LOST, "lost", "p1"],
    [NO_DATA, "no data", "hatch"],
    [FREE, "free", "outline"],
  ];
  const GAMMA = 2.2; // so that a difference near full load is seen, where most GPUs are

  TokenWatt.decodeCells = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

  // A hundred and one steps from idle to full, each with the ink that is read on it; `gamma` 1 spaces them evenly.
  TokenWatt.ramp = function (colours, gamma) {
    const parts = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    const [low, high] = [parts(colours.c0), parts(colours.c1)];
    return Array.from({ length: 101 }, (_, percent) => {
      const f = (percent / 100) ** gamma;
      const [r, g, b] = low.map((from, i) => Math.round(from + (high[i] - from) * f));
      return { fill: `rgb(${r},${g},${b})`, ink: 0.3 * r + 0.59 * g + 0.11 * b > 118 ? "#111418" : "#FFFFFF" };
    });
  };
  const ramp = (colours) => TokenWatt.ramp(colours, GAMMA);

  function paintCell(pen, state, box, shades, k) {
    const colours = TokenWatt.colours();
    const { x, y, width, height } = box;
    if (state <= 100) {
      pen.fillStyle = shades[state].fill;
      pen.fillRect(x, y, width, height);
    } else if (state === FREE) {
      pen.strokeStyle = colours.pipe2;
      pen.lineWidth = 1;
      pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    } else if (state === NO_DATA) {
      pen.fillStyle = colours.pipe;
      for (let dx = 0; dx < width; dx += 3.4 * k) pen.fillRect(x + dx, y, Math.min(1.6 * k, width - dx), height);
    } else {
      pen.fillStyle = state === IDLE ? colours.p2 : state === THROTTLED ? colours.p3 : colours.p1;
      pen.fillRect(x, y, width, height);
      if (TokenWatt.isLight() && state === THROTTLED) {
        pen.strokeStyle = colours.chip;
        pen.lineWidth = 0.75;
        pen.strokeRect(x + 0.4, y + 0.4, width - 0.8, height - 0.8);
      }
    }
  }

  // Cells large enough to read say what they are: number and activity.
  function writeCell(pen, state, index, box, shades, k) {
    if (box.width < 58 * k || box.height < 34 * k) return;
    const colours = TokenWatt.colours();
    const word = state <= 100 ? `${state} %` : { [IDLE]: "idle", [THROTTLED]: "throttled", [LOST]: "lost", [NO_DATA]: "no data", [FREE]: "free" }[state];
    const ink = { [IDLE]: colours.p2i, [THROTTLED]: colours.p3i, [LOST]: colours.p1i }[state];
    const size = Math.min(30 * k, box.height * 0.34, box.width * 0.22);
    if (state === NO_DATA) {
      pen.fillStyle = colours.surface;
      pen.fillRect(box.x + box.width * 0.12, box.y + box.height / 2 - size * 0.75, box.width * 0.76, size * 1.5);
    }
    pen.fillStyle = state <= 100 ? shades[state].ink : ink || colours.dim;
    pen.textAlign = "center";
    pen.font = `600 ${size}px "Inter Variable", Inter`;
    const fits = Math.min(1, (box.width * 0.9) / pen.measureText(word).width);
    pen.font = `600 ${size * fits}px "Inter Variable", Inter`;
    pen.fillText(word, box.x + box.width / 2, box.y + box.height / 2);
    if (box.height < 56 * k || state === NO_DATA) return;
    pen.textAlign = "left";
    pen.font = `500 ${13 * k}px "Inter Variable", Inter`;
    pen.fillText(String(index), box.x + 6 * k, box.y + 12 * k);
  }

  function paintRacks(pen, plan, cells, k) {
    const shades = ramp(TokenWatt.colours());
    const smallest = plan.smallest;
    const gap = smallest > 24 * k ? 3 * k : Math.max(0.5, Math.min(0.9 * k, smallest * 0.2));
    for (const rack of plan.racks) {
      for (let i = 0; i < rack.count; i++) {
        const box = {
          x: rack.x + (i % plan.grid.cols) * plan.cell.width,
          y: rack.y + Math.floor(i / plan.grid.cols) * plan.cell.height,
          width: plan.cell.width - gap,
          height: plan.cell.height - gap,
        };
        const state = cells[rack.start + i] ?? NO_DATA;
        paintCell(pen, state, box, shades, k);
        writeCell(pen, state, i, box, shades, k);
      }
    }
  }

  function paintLabels(pen, plan) {
    const colours = TokenWatt.colours();
    const size = Math.min(plan.text, plan.pitchY * 0.9);
    pen.font = `500 ${size}px "Inter Variable", Inter`;
    pen.fillStyle = colours.dim;
    pen.textAlign = "left";
    for (const label of plan.rowLabels) pen.fillText(label.text, label.x + 2, label.y);
    pen.fillStyle = colours.faint;
    pen.textAlign = "center";
    const widest = Math.max(...plan.headings.map((heading) => pen.measureText(heading.text).width), 1);
    const every = Math.ceil((widest * 1.15) / plan.pitchX);
    plan.headings.forEach((heading, i) => {
      if (i % every === 0) pen.fillText(heading.text, heading.x, heading.y);
    });
  }

  // Neighbouring racks of an alarm share a box.
  function runs(plan, names) {
    const wanted = plan.racks.filter((rack) => names.includes(rack.name));
    return wanted.reduce((all, rack) => {
      const run = all.at(-1);
      if (run && run.line === rack.line && run.to.column + 1 === rack.column) run.to = rack;
      else all.push({ line: rack.line, from: rack, to: rack });
      return all;
    }, []);
  }

  // An alarm of more than half of the floor is no place; of several in one rack the gravest is drawn.
  function boxed(plan, alarms) {
    const taken = new Set();
    return TokenWatt.sortAlarms(alarms).flatMap((alarm) => {
      const names = (alarm.racks || []).filter((name) => !taken.has(name));
      if (!names.length || (plan.racks.length > 1 && names.length > plan.racks.length / 2)) return [];
      names.forEach((name) => taken.add(name));
      return runs(plan, names).map((run, i) => ({ ...run, alarm, first: i === 0 }));
    });
  }

  function outline(pen, box, out, radius, colour, width) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    pen.roundRect(box.x - out, box.y - out, box.width + 2 * out, box.height + 2 * out, radius);
    pen.stroke();
  }

  function shortened(pen, text, most) {
    if (pen.measureText(text).width <= most) return text;
    let end = text.length;
    while (end > 1 && pen.measureText(`${text.slice(0, end)}…`).width > most) end--;
    return `${text.slice(0, end).trimEnd()}…`;
  }

  const apart = (a, b) => a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;

  // The alarm's name above its box, else below it; where both places are taken, its priority alone.
  function tag(pen, plan, box, alarm, taken, k) {
    const colours = TokenWatt.colours();
    const grow = plan.size.far ? 1.6 : 1;
    pen.font = `650 ${16 * k * grow}px "Inter Variable", Inter`;
    const long = `${alarm.priority}  ${shortened(pen, alarm.title, Math.max(box.width, 250 * k * grow) - 14 * k)}`;
    const height = 22 * k * grow;
    const at = (text, y) => {
      const width = pen.measureText(text).width + 14 * k;
      return { text, width, height, x: Math.max(0, Math.min(box.x - 5 * k, plan.size.width - width)), y: Math.max(0, Math.min(y, plan.size.height - height)) };
    };
    const above = box.y - 4 * k - height;
    const places = [at(long, above), at(long, box.y + box.height + 4 * k), at(String(alarm.priority), above)];
    const place = places.find((one) => taken.every((other) => apart(one, other)));
    if (!place) return;
    taken.push(place);
    pen.fillStyle = colours[`p${alarm.priority}`];
    pen.beginPath();
    pen.roundRect(place.x, place.y, place.width, place.height, 3 * k);
    pen.fill();
    pen.fillStyle = colours[`p${alarm.priority}i`];
    pen.textAlign = "left";
    pen.fillText(place.text, place.x + 7 * k, place.y + height / 2 + 0.5 * k);
  }

  function paintAlarms(pen, plan, alarms, k) {
    const colours = TokenWatt.colours();
    const boxes = boxed(plan, alarms).map((run) => ({
      ...run,
      box: { x: run.from.x, y: run.from.y, width: run.to.x - run.from.x + plan.rack.width - k, height: plan.rack.height - k },
    }));
    for (const { box, alarm } of boxes) {
      outline(pen, box, 3.5 * k, 4 * k, colours[`p${alarm.priority}b`], 2.5 * k);
      // Red is the darkest of the four to a deuteranope on a dark page, so critical gets the brightest ring.
      if (alarm.priority === 1) outline(pen, box, 6 * k, 6 * k, colours.text, 2 * k);
    }
    const taken = [];
    for (const { box, alarm, first } of boxes) if (first) tag(pen, plan, box, alarm, taken, k);
  }

  function tally(cells, from, to) {
    const counts = { busy: 0 };
    for (let i = from; i < to; i++) {
      const state = cells[i] > 100 ? cells[i] : "busy";
      counts[state] = (counts[state] || 0) + 1;
    }
    return counts;
  }

  function legend(counts) {
    const items = [el("span", {}, el("i", { class: "ramp" }), "busy 0 – 100 %")];
    for (const [state, word, look] of STATES) {
      if (counts[state]) items.push(el("span", {}, el("i", { class: look }), word, el("b", {}, TokenWatt.count(counts[state]))));
    }
    return items;
  }

  // The text alternative: what the picture says, per row.
  function table(layout, cells) {
    const head = ["Row", "GPUs", "Busy", ...STATES.map(([, word]) => word)];
    const rows = layout.rows.map((row) => {
      const counts = {};
      for (const rack of row.racks) {
        for (const [state, n] of Object.entries(tally(cells, rack.start, rack.start + rack.count))) counts[state] = (counts[state] || 0) + n;
      }
      const total = row.racks.reduce((sum, rack) => sum + rack.count, 0);
      const values = [total, counts.busy || 0, ...STATES.map(([state]) => counts[state] || 0)];
      return el("tr", {}, el("th", { scope: "row" }, row.name), values.map((value) => el("td", {}, String(value))));
    });
    return el("table", {}, el("caption", {}, "GPUs by row and state"), el("tr", {}, head.map((name) => el("th", { scope: "col" }, name))), rows);
  }

  TokenWatt.widgets.floor = function (node, spec, live) {
    const { layout, alarms } = live.snapshot;
    if (!node.firstChild) {
      node.append(el("canvas", { role: "img", "aria-label": "GPU state by row and rack; the table that follows says the same" }), el("div", { class: "hidden" }));
    }
    const [canvas, hidden] = node.children;
    const k = TokenWatt.scale();
    const size = TokenWatt.room(node);
    if (!size.width || !size.height) return;
    const plan = planned(canvas, live.snapshot, { ...size, k, far: TokenWatt.isFar() });
    const pen = cleared(canvas, size);
    if (plan) {
      paintLabels(pen, plan);
      paintRacks(pen, plan, live.cells, k);
      paintAlarms(pen, plan, alarms, k);
    }
    const counts = tally(live.cells, 0, live.cells.length);
    TokenWatt.redraw(node.closest(".card").querySelector(".legend"), legend(counts));
    TokenWatt.redraw(hidden, table(layout, live.cells));
  };

  // Where the cells lie changes with the site and the room alone.
  function planned(canvas, snapshot, size) {
    const key = [snapshot.layout_hash, ...Object.values(size)].join();
    if (canvas.planKey !== key) Object.assign(canvas, { planKey: key, plan: TokenWatt.floorPlan(snapshot.layout, size) });
    return canvas.plan;
  }

  // An empty canvas as large as its room; its memory is asked for again only where that has changed.
  function cleared(canvas, { width, height }) {
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.textBaseline = "middle";
    return pen;
  }

  // What the pointer is on. The reason of an idle GPU comes from the snapshot's own list.
  function describe(hit) {
    const { snapshot, cells } = TokenWatt.live;
    const state = cells[hit.gpu] ?? NO_DATA;
    const uuid = snapshot.layout.gpus[hit.gpu] || "";
    const idle = snapshot.idle.gpus.find((gpu) => gpu.gpu === uuid);
    const known = STATES.find(([code]) => code === state);
    const lines = [`${hit.rack.name} · GPU ${hit.index} · ${known ? known[1] : `${state} % busy`}`, uuid];
    if (idle) lines.push(`${idle.state}: ${idle.reason}`);
    return lines.filter(Boolean);
  }

  document.addEventListener("mousemove", (event) => {
    const tip = document.getElementById("tip");
    if (!tip) return;
    const canvas = event.target.closest?.("[data-widget=floor] canvas");
    const corner = canvas?.getBoundingClientRect();
    const hit = canvas?.plan && TokenWatt.gpuAt(canvas.plan, event.clientX - corner.left, event.clientY - corner.top);
    tip.hidden = !hit;
    if (!hit) return;
    tip.replaceChildren(...describe(hit).map((line) => el("div", {}, line)));
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  });
})();
