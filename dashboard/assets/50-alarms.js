// Active alarms: the list, the counts in the header, and what a screen reader is told when one comes or goes.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, chip } = TokenWatt;
  const MOST = 6;
  const MOST_FAR = 5;

  // By priority, then not yet acknowledged first, then newest.
  TokenWatt.sortAlarms = (alarms) => [...alarms].sort((a, b) => a.priority - b.priority || Number(a.ack) - Number(b.ack) || b.since - a.since);

  function row(alarm) {
    const blinks = !alarm.ack && alarm.priority === 1;
    return el(
      "li",
      { class: `${alarm.ack ? "acknowledged" : ""} ${blinks ? "blinks" : ""}` },
      chip(alarm.priority, alarm.ack ? "open" : ""),
      el("div", { class: "what" }, el("div", { class: "title", title: alarm.title }, alarm.title), el("div", { class: "place", title: alarm.place }, alarm.place)),
      el("div", { class: "impact" }, alarm.impact || "", el("small", { "data-since": alarm.since, "data-after": alarm.ack ? " · ack" : "" })),
    );
  }

  // Ages move every second without the list being built anew.
  TokenWatt.tellAges = function () {
    const now = TokenWatt.now();
    document.querySelectorAll("[data-since]").forEach((node) => {
      TokenWatt.setText(node, TokenWatt.duration(now - Number(node.dataset.since)) + (node.dataset.after || ""));
    });
  };

  function nothing() {
    return el("li", { class: "none" }, el("b", {}, "No active alarms"), "Everything that is watched is within its limits.");
  }

  TokenWatt.widgets.alarms = function (node, spec, live) {
    const alarms = TokenWatt.sortAlarms(live.snapshot.alarms);
    const unseen = alarms.filter((alarm) => !alarm.ack).length;
    const count = node.closest(".card").querySelector(".aside");
    TokenWatt.setText(count, alarms.length ? `${alarms.length} active, ${unseen} to acknowledge` : "");
    const most = TokenWatt.isFar() ? MOST_FAR : MOST;
    const key = JSON.stringify([alarms.map((a) => [a.rule, a.object, a.priority, a.title, a.place, a.impact, a.ack]), most, TokenWatt.room(node).height]);
    if (node.dataset.key !== key) {
      TokenWatt.refill(node, key, () => el("ul", { class: "alarms" }, alarms.length ? alarms.slice(0, most).map(row) : nothing()));
      trim(node, alarms.length);
    }
    TokenWatt.tellAges();
  };

  // What does not fit is counted instead of cut.
  function trim(node, total) {
    const list = node.firstChild;
    list.querySelector(".more")?.remove();
    const rows = [...list.children];
    const fits = () => list.scrollHeight <= node.clientHeight + 1;
    const limited = getComputedStyle(list).overflowY === "hidden";
    for (;;) {
      const left = total - rows.length;
      if (total && left > 0) list.append(el("li", { class: "more" }, `+ ${left} more`));
      if (!limited || fits() || rows.length <= 1) return;
      list.querySelector(".more")?.remove();
      rows.pop().remove();
    }
  }

  TokenWatt.widgets.counts = function (node, spec, live) {
    const { counts } = live.snapshot;
    if (TokenWatt.shows(node, live)) return;
    TokenWatt.refill(node, counts.join(), () =>
      counts.map((count, i) => el("span", { class: `count ${count ? "" : "zero"}` }, chip(i + 1, count ? "" : "zero"), String(count))),
    );
    node.setAttribute("aria-label", counts.map((count, i) => `${count} ${TokenWatt.priorityName(i + 1)}`).join(", "));
  };

  // Said once when it comes or clears, critical ones at once; the list itself is silent.
  let told = null;
  TokenWatt.announce = function (alarms) {
    const now = new Map(alarms.map((alarm) => [`${alarm.rule} ${alarm.object}`, alarm]));
    if (told) {
      const came = [...now].filter(([key]) => !told.has(key)).map(([, alarm]) => alarm);
      const cleared = [...told].filter(([key]) => !now.has(key)).map(([, alarm]) => alarm);
      const say = (id, text) => text && (document.getElementById(id).textContent = text);
      say("say-now", came.filter((a) => a.priority === 1).map((a) => `Critical alarm: ${a.title}`).join(". "));
      say("say", [...came.filter((a) => a.priority > 1).map((a) => `Alarm: ${a.title}`), ...cleared.map((a) => `Cleared: ${a.title}`)].join(". "));
    }
    told = now;
  };
})();
