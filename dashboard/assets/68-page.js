// A page with an answer of its own: when that is asked for, how old it is, and that back and forward stay on the page.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const LOOK_MS = 250;

  const seconds = () => performance.now() / 1000;

  // `name` is the class of its main and the end of its address, `limits` are seconds: how often it is asked for, when
  // the answer and its values are late, when both are lost. `ask` gets the answer, `moved` is called after back and
  // forward. Returns `refresh`, and `freshness` of an answer that came at `at`, which is null on other pages.
  TokenWatt.ownPage = function ({ name, limits, ask, moved }) {
    const here = () => Boolean(document.querySelector(`main.${name}`));
    let asked = -Infinity;

    function refresh() {
      asked = seconds();
      return ask();
    }

    function freshness(body, at) {
      if (!here()) return null;
      if (!body) return { state: "connecting", age: 0, from: null };
      const link = Math.max(seconds() - at, 0, TokenWatt.now() - body.time);
      const data = TokenWatt.now() - body.data_time;
      const age = Math.max(link, data);
      const late = link > limits.late || data > limits.dataLate;
      return { state: age > limits.lost ? "lost" : late ? "stale" : "live", age, from: body.data_time };
    }

    // A page that was just opened asks at once; one that nobody looks at does not ask.
    setInterval(() => {
      if (here() && !document.hidden && seconds() - asked >= limits.period) refresh();
    }, LOOK_MS);

    // Back and forward within this page are ours: Dash would make the whole page anew.
    window.addEventListener("popstate", (event) => {
      if (!here() || !location.pathname.endsWith(`/${name}`)) return;
      event.stopImmediatePropagation();
      moved();
    }, true);

    return { refresh, freshness };
  };
})();
