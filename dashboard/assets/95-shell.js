// Fills the empty containers of a page, and the keys: 1 2 3 4 pages, t theme, f full screen.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, svg } = TokenWatt;
  const root = document.documentElement;
  const POINTER_SECONDS = 5;

  TokenWatt.paint = function () {
    const { live } = TokenWatt;
    if (!live.snapshot) return;
    TokenWatt.measure();
    tellSite(live.snapshot);
    document.querySelectorAll("[data-widget]").forEach((node) => {
      try {
        TokenWatt.widgets[node.dataset.widget](node, (node.spec ??= JSON.parse(node.dataset.spec || "{}")), live);
      } catch (error) {
        console.error(`${node.dataset.widget} could not be drawn`, error); // one that fails must not blank the others
      }
    });
  };

  function tellSite(snapshot) {
    const { site, synthetic } = snapshot;
    const expected = root.dataset.site;
    root.dataset.synthetic = String(Boolean(synthetic));
    document.querySelectorAll(".site").forEach((node) => {
      TokenWatt.setText(node.querySelector("b"), site.name); // empty until the inventory was read
      const racks = site.racks ? `${TokenWatt.count(site.racks)} ${site.racks === 1 ? "rack" : "racks"}` : "";
      TokenWatt.setText(node.querySelector("small"), [`${TokenWatt.count(site.gpus)} GPUs`, racks].filter(Boolean).join(" · "));
    });
    document.querySelectorAll(".wrong-site").forEach((node) => {
      TokenWatt.setHidden(node, !expected || expected === site.name);
      TokenWatt.setText(node, `This panel is set to ${expected}`);
    });
  }

  TokenWatt.widgets.window = function (node, spec, live) {
    const number = live.snapshot.numbers.tokens_per_joule_it || {};
    const span = number.from && number.to ? `mean of ${Math.round(number.to - number.from)} s up to ${TokenWatt.clock(number.to)} UTC` : "now";
    node.textContent = `${live.snapshot.site.name}, ${span}`;
  };

  function setTheme(theme) {
    root.dataset.theme = theme;
    try {
      localStorage.setItem("tokenwatt-theme", theme);
    } catch {
      // storage is switched off: the choice lasts as long as the page
    }
    TokenWatt.paint();
  }
  const switchTheme = () => setTheme(TokenWatt.isLight() ? "dark" : "light");

  const SUN = "M12 3v1M12 20v1M3 12h1M20 12h1M5.6 5.6l.7.7M17.7 17.7l.7.7M5.6 18.4l.7-.7M17.7 6.3l.7-.7M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8";
  const MOON = "M12 3a6 6 0 0 0 9 9 9 9 0 1 1-9-9z";
  const circle = (name) => svg("circle", { class: name, cx: 9, cy: 9, r: 7, "stroke-dasharray": name === "fills" ? 44 : null });
  const icon = (name, d) => svg("svg", { class: name, viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d }));

  // Dash lays out empty containers, and React leaves alone what it did not put there.
  function furnish() {
    document.querySelectorAll(".ring:empty").forEach((node) => node.append(svg("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" }, circle("rest"), circle("fills"))));
    document.querySelectorAll(".theme-switch:empty").forEach((node) => {
      node.append(icon("sun", SUN), icon("moon", MOON));
      node.addEventListener("click", switchTheme);
    });
  }

  // A new page has containers that were never painted.
  function arrived() {
    const fresh = [...document.querySelectorAll("[data-widget]")].filter((node) => !node.mounted);
    if (!fresh.length) return;
    fresh.forEach((node) => (node.mounted = true));
    root.dataset.mode = document.querySelector(root.dataset.far === "true" ? "main.wall, main.fabric" : "main.wall") ? "wall" : "desk";
    furnish();
    requestAnimationFrame(TokenWatt.paint);
  }

  function press(event) {
    if (event.metaKey || event.ctrlKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    if (event.key === "t") switchTheme();
    else if (event.key === "f") (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()).catch(() => {});
    else if ("1234".includes(event.key)) document.querySelectorAll("header nav a")[Number(event.key) - 1]?.click();
  }

  // A wall has no pointer, no links and no buttons until somebody moves one.
  let hiding = 0;
  function pointed() {
    root.dataset.pointer = "true";
    clearTimeout(hiding);
    hiding = setTimeout(() => (root.dataset.pointer = "false"), POINTER_SECONDS * 1000);
  }

  function stayAwake() {
    if (!document.hidden && TokenWatt.isWall()) navigator.wakeLock?.request("screen").catch(() => {});
  }

  function begin() {
    document.body.append(
      el("div", { id: "tip", class: "tip", hidden: "" }),
      el("div", { id: "lost", class: "lost", "aria-hidden": "true", hidden: "" }),
      el("div", { id: "say", class: "hidden", "aria-live": "polite" }),
      el("div", { id: "say-now", class: "hidden", "aria-live": "assertive" }),
    );
    new MutationObserver(arrived).observe(document.body, { childList: true, subtree: true });
    document.addEventListener("keydown", press);
    document.addEventListener("mousemove", pointed);
    document.addEventListener("visibilitychange", stayAwake);
    let resizing = 0;
    addEventListener("resize", () => {
      clearTimeout(resizing);
      resizing = setTimeout(TokenWatt.paint, 120);
    });
    document.fonts?.ready.then(TokenWatt.paint); // the canvas measured its text with another font before
    arrived();
    stayAwake();
    TokenWatt.startLive();
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
