// The ports by switch: a canvas as large as its window, drawn again only when what it shows has changed or moved.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, fabric, count } = TokenWatt;
  const WORDS = { down: "down", admin_down: "admin down", unknown: "unknown", stale: "stale", absent: "not collected", bad: "beyond limit", warn: "near limit", flagged: "abnormal by another metric" };
  const LOOKS = { bad: "p2 mark-bad", warn: "p3 mark-warn", down: "mark-down", flagged: "ring", stale: "slant", unknown: "hatch", absent: "dot", admin_down: "outline" };
  const HOVER_MS = 400;
  const IN_FULL = 16;
  const LEAST_STEP = 10; // so that an idle port is a cell and not a hole
  const neighbours = new Map(); // of ports that are not among the worst, once asked for

  // What a cell shows: its state, or how its value stands; `flagged` marks what is abnormal by another metric.
  function cellOf(metric, name, [port, , value, state]) {
    const listed = fabric.ports.get(fabric.key(name, port));
    const known = listed?.priority || 0;
    if (state !== "ok") return { kind: state, priority: state === "down" ? known || 2 : 0, known };
    if (value === null) return { kind: "absent", priority: 0, known };
    const judged = fabric.judge(metric, value);
    const kind = judged === 2 ? "bad" : judged === 3 ? "warn" : "value";
    return { kind, priority: judged, known, flagged: known && kind === "value" };
  }

  function share({ low, high, log }, value) {
    const scale = log ? Math.log10 : Number;
    if (log && value <= low) return 0;
    return Math.max(0, Math.min(1, (scale(value) - scale(low)) / (scale(high) - scale(low))));
  }

  // Everything that is drawn, worked out once per answer.
  function digest(body) {
    const metric = fabric.metric();
    const counts = {};
    const switches = fabric.switches.map((one) => {
      const own = {};
      const cells = one.ports.map((port) => {
        const cell = cellOf(metric, one.name, port);
        if (cell.kind === "value") cell.step = Math.round(LEAST_STEP + share(metric, port[2]) * (100 - LEAST_STEP));
        own[cell.kind] = (own[cell.kind] || 0) + 1;
        if (cell.flagged) own.flagged = (own.flagged || 0) + 1;
        return cell;
      });
      for (const [kind, n] of Object.entries(own)) counts[kind] = (counts[kind] || 0) + n;
      return { ...one, cells, counts: own, priority: fabric.switchPriority(one) };
    });
    return { body, metric, switches, counts };
  }

  function mark(pen, kind, { x, y, width, height }, ink) {
    const size = Math.min(width, height) * 0.26;
    const [cx, cy] = [x + width / 2, y + height / 2];
    pen.fillStyle = pen.strokeStyle = ink;
    pen.lineWidth = Math.max(1.2, size * 0.5);
    pen.beginPath();
    if (kind === "down") {
      pen.moveTo(cx - size, cy - size);
      pen.lineTo(cx + size, cy + size);
      pen.moveTo(cx + size, cy - size);
      pen.lineTo(cx - size, cy + size);
      pen.stroke();
      return;
    }
    const points = kind === "bad" ? [[0, -1.1], [1.15, 0.9], [-1.15, 0.9]] : [[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]];
    points.forEach(([dx, dy], i) => pen[i ? "lineTo" : "moveTo"](cx + dx * size, cy + dy * size));
    pen.fill();
  }

  function hatch(pen, { x, y, width, height }, slant, k) {
    const pitch = 4.2 * k;
    pen.save();
    pen.beginPath();
    pen.rect(x, y, width, height);
    pen.clip();
    pen.lineWidth = (slant ? 1 : 1.5) * k;
    pen.beginPath();
    for (let dx = slant ? -height : pitch / 2; dx < width; dx += pitch) {
      pen.moveTo(x + dx, y + height);
      pen.lineTo(x + dx + (slant ? height : 0), y);
    }
    pen.stroke();
    pen.restore();
  }

  function paintCell(pen, cell, box, brush) {
    const { colours, shades, k } = brush;
    const { x, y, width, height } = box;
    if (cell.kind === "value") {
      pen.fillStyle = shades[cell.step].fill;
      pen.fillRect(x, y, width, height);
    } else if (cell.priority) {
      pen.fillStyle = colours[`p${cell.priority}`];
      pen.fillRect(x, y, width, height);
      mark(pen, cell.kind, box, colours[`p${cell.priority}i`]);
    } else if (cell.kind === "admin_down") {
      pen.strokeStyle = colours.pipe2;
      pen.lineWidth = 1;
      pen.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    } else if (cell.kind === "absent") {
      pen.fillStyle = colours.band;
      pen.fillRect(x, y, width, height);
      pen.fillStyle = colours.pipe;
      const size = Math.max(1.5, Math.min(width, height) * 0.16);
      pen.fillRect(x + (width - size) / 2, y + (height - size) / 2, size, size);
    } else {
      pen.strokeStyle = colours.pipe;
      hatch(pen, box, cell.kind === "stale", k);
    }
    if (cell.known && cell.known < (cell.priority || 9)) ring(pen, box, colours[`p${cell.known}b`], cell.known === 1 ? colours.text : null, k);
    else if (cell.priority === 2 && cell.known === 2 && cell.kind === "down") outline(pen, box, colours.text, 0, k);
  }

  // Red is the darkest of the four to a deuteranope on a dark page, so critical gets the brightest ring.
  function ring(pen, box, colour, halo, k) {
    outline(pen, box, colour, 1.25 * k, 2.5 * k);
    if (halo) outline(pen, box, halo, -0.75 * k, 1.5 * k);
  }
  function outline(pen, { x, y, width, height }, colour, inset, wide) {
    pen.strokeStyle = colour;
    pen.lineWidth = wide;
    pen.strokeRect(x + inset, y + inset, width - 2 * inset, height - 2 * inset);
  }

  function paintTitle(pen, plan, block, one, { colours, k }) {
    const size = plan.title / 1.35;
    const y = block.y + plan.title * 0.42;
    const font = (weight, height) => (pen.font = `${weight} ${height}px "Inter Variable", Inter`);
    let x = block.x;
    const write = (text, colour, weight, height) => {
      font(weight, height);
      pen.fillStyle = colour;
      pen.fillText(text, x, y);
      x += pen.measureText(text).width + size * 0.5;
    };
    write(one.name, colours.text, 600, size);
    write(one.rack || "", colours.faint, 400, size * 0.82);
    if (one.state === "ok") return;
    if (!one.priority) {
      write(one.state.replaceAll("_", " "), colours.dim, 500, size * 0.82);
      return;
    }
    const high = size * 1.12;
    font(650, size * 0.8);
    const word = `${one.priority}  ${one.state.replaceAll("_", " ")}`;
    const wide = pen.measureText(word).width + size * 0.7;
    pen.fillStyle = colours[`p${one.priority}`];
    pen.beginPath();
    pen.roundRect(x, y - high / 2 - 0.5 * k, wide, high, 3 * k);
    pen.fill();
    pen.fillStyle = colours[`p${one.priority}i`];
    pen.fillText(word, x + size * 0.35, y);
  }

  function paint(canvas) {
    const { plan, view, size } = canvas;
    const ratio = window.devicePixelRatio || 1;
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, size.width, size.height);
    const top = canvas.parentElement.scrollTop;
    pen.translate(0, -top);
    pen.textBaseline = "middle";
    const colours = TokenWatt.colours();
    if (canvas.colours !== colours) Object.assign(canvas, { colours, shades: TokenWatt.ramp(colours, 1) });
    const brush = { colours, shades: canvas.shades, k: size.k };
    const gap = Math.max(0.75, Math.min(2.5 * size.k, plan.cell * 0.1));
    for (const block of plan.blocks) {
      const end = block.y + plan.title + Math.ceil(block.count / plan.perLine) * plan.high;
      if (end < top || block.y > top + size.height) continue;
      const one = view.switches[block.index];
      paintTitle(pen, plan, block, one, brush);
      one.cells.forEach((cell, i) => paintCell(pen, cell, TokenWatt.portBox(plan, block, i, gap), brush));
    }
    const chosen = canvas.cursor || canvas.open;
    if (chosen && plan.blocks[chosen.block]) {
      outline(pen, TokenWatt.portBox(plan, plan.blocks[chosen.block], chosen.port, gap), colours.focus, -1.5 * size.k, 2.5 * size.k);
    }
  }

  const written = (metric, value) => fabric.write(metric, value);

  // Only what is on the picture, with its count; the ramp says what its ends mean.
  function legend(node, view) {
    const { metric, counts } = view;
    const scale = counts.value ? [el("span", {}, el("i", { class: "ramp even" }), `${fabric.writeBound(metric, metric.low)} – ${fabric.writeBound(metric, metric.high)}${metric.log ? ", log" : ""}`)] : [];
    const items = Object.keys(LOOKS).filter((kind) => counts[kind]).map((kind) => {
      const edge = kind === "bad" ? metric.bad : kind === "warn" ? metric.warn : null;
      const low = metric.bad < metric.warn;
      const word = edge === null ? WORDS[kind] : `${low ? "≤" : "≥"} ${fabric.writeBound(metric, edge)}`;
      return el("span", { "data-kind": kind }, el("i", { class: LOOKS[kind] }), word, el("b", {}, count(counts[kind])));
    });
    node.replaceChildren(...scale, ...items);
  }

  // The text alternative: what the picture says, a line per switch, with every port that is not as it should be.
  function table(view) {
    const kinds = Object.keys(WORDS).filter((kind) => view.counts[kind]);
    const rows = view.switches.map((one) => {
      const told = ([name, , value], cell) => `${name} ${WORDS[cell.flagged ? "flagged" : cell.kind]}${value === null ? "" : ` ${written(view.metric, value)}`}`;
      const odd = one.ports.flatMap((port, i) => (one.cells[i].priority || one.cells[i].flagged ? [told(port, one.cells[i])] : []));
      return el("tr", {}, el("th", { scope: "row" }, one.name), [one.rack, one.state.replaceAll("_", " "), String(one.ports.length), ...kinds.map((kind) => String(one.counts[kind] || 0)), odd.join(", ")].map((text) => el("td", {}, text)));
    });
    const head = ["Switch", "Rack", "State", "Ports", ...kinds.map((kind) => WORDS[kind]), "Abnormal ports"];
    return el("table", {}, el("caption", {}, `${view.metric.title} of ports by switch`), el("tr", {}, head.map((name) => el("th", { scope: "col" }, name))), rows);
  }

  function furnish(node) {
    node.tabIndex = 0;
    node.setAttribute("role", "application");
    node.setAttribute("aria-label", "Ports by switch. Arrow keys choose a port, Enter opens it. The table that follows says the same.");
    node.append(el("canvas", { "aria-hidden": "true" }), el("div", { class: "reach" }));
    node.after(el("div", { class: "hidden ports-table" }));
    node.addEventListener("scroll", () => requestAnimationFrame(() => node.firstChild.plan && paint(node.firstChild)), { passive: true });
    node.addEventListener("blur", () => leave(node.firstChild));
  }
  function leave(canvas) {
    canvas.cursor = null;
    if (canvas.plan) paint(canvas);
  }

  function find(view, name, port) {
    const block = view.switches.findIndex((one) => one.name === name);
    const at = block < 0 ? -1 : view.switches[block].ports.findIndex(([found]) => found === port);
    return at < 0 ? null : { block, port: at };
  }

  TokenWatt.widgets.ports = function (node) {
    const { body } = fabric;
    if (!body || !node.clientWidth) return;
    if (!node.firstChild) furnish(node);
    const canvas = node.firstChild;
    const k = TokenWatt.scale();
    // On a phone a few switches stand in full length: a picture that scrolls inside a page that scrolls is a trap.
    const inFull = innerWidth < 800 && fabric.switches.length <= IN_FULL;
    node.dataset.full = String(inFull);
    const size = { width: node.clientWidth - 4 * k, height: inFull ? Infinity : node.clientHeight, k, far: TokenWatt.isFar() };
    const key = [body.time, body.metric, size.width, size.height, size.far, document.documentElement.dataset.theme, fabric.option("switch"), fabric.option("port"), document.fonts?.status].join();
    if (canvas.key === key) return;
    canvas.key = key;
    if (canvas.view?.body !== body) {
      canvas.view = digest(body);
      legend(node.closest(".card").querySelector(".legend"), canvas.view);
      // Nobody sees the table: it waits until the picture is drawn.
      (window.requestIdleCallback || setTimeout)(() => canvas.view.body === fabric.body && node.nextElementSibling?.replaceChildren(table(canvas.view)));
    }
    const { view } = canvas;
    tellHeading(node, view);
    canvas.size = size;
    canvas.plan = TokenWatt.portsPlan(view.switches, size);
    if (inFull) size.height = Math.ceil(canvas.plan?.height || 0) + 4;
    canvas.open = find(view, fabric.option("switch"), fabric.option("port"));
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(node.clientWidth * ratio);
    canvas.height = Math.round(size.height * ratio);
    canvas.style.width = `${node.clientWidth}px`;
    canvas.style.height = `${size.height}px`;
    node.lastChild.style.height = `${Math.max(0, (canvas.plan?.height || 0) - size.height)}px`;
    node.dataset.empty = String(!canvas.plan);
    if (canvas.plan) paint(canvas);
  };

  function tellHeading(node, { metric, switches }) {
    const heading = node.closest(".card").querySelector("h2");
    heading.querySelector("small").textContent = switches.length ? [metric.title, fabric.limit(metric)].filter(Boolean).join(", ") : "No switch is known: name one in site.yaml, snmp:// or gnmi://";
    heading.title = metric.help;
  }

  function describe(view, { block, port }) {
    const one = view.switches[block];
    const [name, alias, value, state] = one.ports[port];
    const cell = one.cells[port];
    const listed = fabric.ports.get(fabric.key(one.name, name)) || neighbours.get(fabric.key(one.name, name));
    const said = state === "ok" ? `${view.metric.title} ${value === null ? "not collected" : written(view.metric, value)}` : WORDS[state];
    const far = listed?.neighbor ? `to ${listed.neighbor}${listed.neighbor_interface ? ` ${listed.neighbor_interface}` : ""}${listed.gpus ? `, ${fabric.plural(listed.gpus, "GPU")}` : ""}` : "";
    return [`${one.name} · ${name}${alias && alias !== name ? ` (${alias})` : ""}`, said, cell.known ? listed.reason : "", far].filter(Boolean);
  }

  // What is under the pointer; a port that is not among the worst is asked for when the pointer rests on it.
  let resting = 0;
  function hover(event) {
    const tip = document.getElementById("tip");
    const canvas = event.target.closest?.("[data-widget=ports]")?.firstChild;
    clearTimeout(resting);
    if (!tip || !canvas?.plan) return;
    const corner = canvas.getBoundingClientRect();
    const hit = TokenWatt.portAt(canvas.plan, event.clientX - corner.left, event.clientY - corner.top + canvas.parentElement.scrollTop);
    canvas.style.cursor = hit ? "pointer" : "";
    tip.hidden = !hit;
    if (!hit) return;
    const at = { block: hit.block.index, port: hit.port };
    tip.replaceChildren(...describe(canvas.view, at).map((line) => el("div", {}, line)));
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
    resting = setTimeout(() => ask(canvas.view.switches[at.block], at.port, () => hover(event)), HOVER_MS);
  }
  async function ask(one, port, again) {
    const [name] = one.ports[port];
    const key = fabric.key(one.name, name);
    if (fabric.ports.has(key) || neighbours.has(key)) return;
    const found = await TokenWatt.ask(TokenWatt.feed(fabric.portAddress(one.name, name)));
    neighbours.set(key, found?.port || {});
    if (found && !document.getElementById("tip").hidden) again();
  }
  document.addEventListener("mousemove", hover);

  document.addEventListener("click", (event) => {
    const canvas = event.target.closest?.("[data-widget=ports]")?.firstChild;
    if (!canvas?.plan) return;
    const corner = canvas.getBoundingClientRect();
    const hit = TokenWatt.portAt(canvas.plan, event.clientX - corner.left, event.clientY - corner.top + canvas.parentElement.scrollTop);
    if (hit) open(canvas, { block: hit.block.index, port: hit.port });
  });
  const open = (canvas, { block, port }) => fabric.open(canvas.view.switches[block].name, canvas.view.switches[block].ports[port][0]);

  // Left and right run on into the next switch; up and down keep the column; page keys go a switch at a time.
  function moved({ view, plan }, at, key) {
    const counts = view.switches.map((one) => one.ports.length);
    const total = counts.reduce((sum, n) => sum + n, 0);
    const flat = counts.slice(0, at.block).reduce((sum, n) => sum + n, 0) + at.port;
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: plan.perLine, ArrowUp: -plan.perLine, Home: -flat, End: total - 1 - flat }[key];
    if (key === "PageDown" || key === "PageUp") return { block: Math.max(0, Math.min(counts.length - 1, at.block + (key === "PageDown" ? 1 : -1))), port: 0 };
    let left = Math.max(0, Math.min(total - 1, flat + by));
    const block = counts.findIndex((n) => left < n || ((left -= n), false));
    return { block, port: left };
  }

  function follow(node, canvas) {
    const block = canvas.plan.blocks[canvas.cursor.block];
    const box = TokenWatt.portBox(canvas.plan, block, canvas.cursor.port, 0);
    const low = box.y + box.height + 8;
    if (block.y < node.scrollTop) node.scrollTop = block.y;
    else if (low > node.scrollTop + node.clientHeight) node.scrollTop = low - node.clientHeight;
    paint(canvas);
    document.getElementById("say").textContent = describe(canvas.view, canvas.cursor).join(", ");
  }

  document.addEventListener("keydown", (event) => {
    const node = event.target;
    const canvas = node.dataset?.widget === "ports" ? node.firstChild : null;
    if (!canvas?.plan || event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.key === "Enter") {
      if (canvas.cursor) open(canvas, canvas.cursor);
      return;
    }
    if (!["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Home", "End", "PageUp", "PageDown"].includes(event.key)) return;
    event.preventDefault();
    canvas.cursor = canvas.cursor ? moved(canvas, canvas.cursor, event.key) : canvas.open || { block: 0, port: 0 };
    follow(node, canvas);
  });
})();
