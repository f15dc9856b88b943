// Runs in <head>, before the first paint: theme and mode are known before anything is drawn, so nothing flashes.
(function () {
  "use strict";
  const options = new URLSearchParams(location.search);
  const root = document.documentElement;
  const known = (theme) => (theme === "dark" || theme === "light" ? theme : null);

  function remembered() {
    try {
      return known(localStorage.getItem("tokenwatt-theme"));
    } catch {
      return null; // storage is switched off
    }
  }
  const preferred = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  root.dataset.theme = known(options.get("theme")) || remembered() || preferred;
  root.dataset.far = String(options.has("far"));
  root.dataset.mode = location.pathname === "/" || (location.pathname === "/fabric" && options.has("far")) ? "wall" : "desk";
  root.dataset.live = "connecting";
  // A wall panel may say whose wall it is; the live script warns when the server shows another site.
  if (options.get("site")) root.dataset.site = options.get("site");
})();
