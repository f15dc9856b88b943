// What every drawing needs: elements, the theme's colours, the picture's scale, the severity chip.
(function () {
  "use strict";
  const TokenWatt = (window.TokenWatt = { widgets: {} });
  const SVG = "http://www.w3.org/2000/svg";
  const root = document.documentElement;

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
    return node;
  }
  // Text goes in as text nodes, never as markup: names come from devices.
  TokenWatt.el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  TokenWatt.svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  TokenWatt.theme = () => window.TOKENWATT_THEME.themes[root.dataset.theme];
  TokenWatt.colours = () => TokenWatt.theme().colours;
  TokenWatt.isLight = () => root.dataset.theme === "light";
  // Under this width the wall is a page like the others: one column, which scrolls (30-pages.css).
  TokenWatt.isWall = () => root.dataset.mode === "wall" && innerWidth >= 1200;
  TokenWatt.isFar = () => root.dataset.far === "true" && TokenWatt.isWall();
  // Canvas, SVG and Plotly grow with the page: 1 at a root font of 16 px, 2 on a 4K wall.
  // Measured once per paint: each question between two changes makes the browser work out all styles anew.
  let scale = 1;
  TokenWatt.measure = () => (scale = parseFloat(getComputedStyle(root).fontSize) / 16);
  TokenWatt.scale = () => scale;
  // On a light card yellow and orange are too pale for a line: the text colour of the priority stands in.
  TokenWatt.alarmLine = (priority) => TokenWatt.colours()[`p${priority}${TokenWatt.isLight() ? "t" : ""}`];

  const PRIORITY = { 1: "Critical", 2: "High", 3: "Medium", 4: "Advisory" };
  const SHAPE = {
    1: ["path", { d: "M7 1h10l6 6v10l-6 6H7l-6-6V7z" }],
    2: ["path", { d: "M12 1 23.5 22.5H.5z" }],
    3: ["path", { d: "M12 .5 23.5 12 12 23.5 .5 12z" }],
    4: ["circle", { cx: 12, cy: 12, r: 11 }],
  };
  TokenWatt.shape = (priority) => TokenWatt.svg(SHAPE[priority][0], { class: "shape", ...SHAPE[priority][1] });
  TokenWatt.priorityName = (priority) => PRIORITY[priority];

  // Colour, shape and digit say the same; `look` is "" filled, "open" outlined, "zero" outlined and grey.
  TokenWatt.chip = function (priority, look) {
    const { el, svg } = TokenWatt;
    const picture = svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, TokenWatt.shape(priority));
    return el(
      "span",
      { class: `chip p${priority} ${look || ""}`, role: "img", "aria-label": PRIORITY[priority] },
      picture,
      el("b", {}, String(priority)),
    );
  };

  // What is so already is left alone: every change is work for the browser and for what watches the page.
  TokenWatt.setText = (node, text) => node && node.textContent !== text && (node.textContent = text);
  TokenWatt.setHidden = (node, hidden) => node.hidden !== hidden && (node.hidden = hidden);

  // Replaces what `node` holds only if `key` says that it would look different; screen readers then hear changes only.
  TokenWatt.refill = function (node, key, draw) {
    if (node.dataset.key === key && node.firstChild) return;
    node.dataset.key = key;
    node.replaceChildren(...[draw()].flat());
  };

  // How large a node is, without asking for a layout at every paint; a change of it paints anew.
  const rooms = new WeakMap();
  const measured = (node) => ({ width: node.clientWidth, height: node.clientHeight });
  const observer = new ResizeObserver((entries) => {
    const changed = entries.filter(({ target }) => {
      const [before, now] = [rooms.get(target), measured(target)];
      rooms.set(target, now);
      return before && (before.width !== now.width || before.height !== now.height);
    });
    if (changed.length) requestAnimationFrame(() => TokenWatt.paint());
  });
  TokenWatt.room = function (node) {
    if (!rooms.has(node)) {
      rooms.set(node, measured(node));
      observer.observe(node);
    }
    return rooms.get(node);
  };

  // Whether `node` shows this snapshot and this history already, as large and as coloured: then the answer of another
  // feed changes nothing of it.
  TokenWatt.shows = function (node, { snapshot, history }) {
    const now = [snapshot, history, root.dataset.theme, root.dataset.mode, scale, ...Object.values(TokenWatt.room(node))];
    const same = Boolean(node.showing?.every((one, i) => one === now[i]));
    node.showing = now;
    return same;
  };

  // Makes `node` hold what was drawn anew, by changing what it holds already: focus, hover and scroll stay where they are.
  // Listeners belong on `node`, which stays. What tells its age by itself (`data-since`) keeps its text.
  TokenWatt.redraw = function (node, children) {
    const fresh = [children].flat(Infinity).filter((child) => child !== null && child !== undefined && child !== "");
    fresh.forEach((child, i) => {
      const own = node.childNodes[i];
      if (!own) node.append(child);
      else if (!renewed(own, child)) own.replaceWith(child);
    });
    while (node.childNodes.length > fresh.length) node.lastChild.remove();
  };

  function renewed(own, fresh) {
    const text = typeof fresh === "string" || fresh.nodeType === Node.TEXT_NODE;
    if (text !== (own.nodeType === Node.TEXT_NODE)) return false;
    if (text) {
      const words = typeof fresh === "string" ? fresh : fresh.data;
      if (own.data !== words) own.data = words;
      return true;
    }
    if (own.nodeName !== fresh.nodeName || own.id !== fresh.id) return false;
    for (const { name } of [...own.attributes]) if (!fresh.hasAttribute(name)) own.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (own.getAttribute(name) !== value) own.setAttribute(name, value);
    if (!fresh.dataset.since) TokenWatt.redraw(own, [...fresh.childNodes]);
    return true;
  }
})();
