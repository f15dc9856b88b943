// Where the watts go, as trunk and peel: the useful flow runs straight along the top, every loss peels off downward.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, svg, write } = TokenWatt;
  const NARROW_PX = 640;

  // Stages whose number is known, each with what is lost before the next; the loss after a boundary that nobody
  // measures joins the one before it.
  function trunk(spec, live) {
    const known = [];
    for (const stage of spec.stages) {
      const seen = TokenWatt.read(live.snapshot.numbers[stage.number]);
      if (seen.value > 0) known.push({ ...stage, seen });
      else if (known.length && stage.loss) known.at(-1).loss += `, ${stage.loss}`;
    }
    return known.map((stage, i) => {
      const next = known[i + 1];
      const lost = next ? stage.seen.value - next.seen.value : 0;
      return { name: stage.name, watts: stage.seen.value, covered: stage.seen.covered, loss: next ? { name: stage.loss, watts: lost } : null };
    });
  }

  function idleLoss(stages, live) {
    const idle = TokenWatt.read(live.snapshot.numbers.idle_watts);
    const boards = stages.at(-1);
    if (!boards || idle.value === undefined || idle.value <= 0 || idle.value >= boards.watts) return stages;
    return [
      ...stages.slice(0, -1),
      { ...boards, loss: { name: "Idle GPUs", watts: idle.value } },
      { name: "At work", watts: boards.watts - idle.value, covered: boards.covered, loss: null },
    ];
  }

  function bars(stages) {
    const most = stages[0].watts;
    return stages.map((stage) =>
      el(
        "div",
        { class: "bar flow" },
        el("span", { class: "name" }, stage.name),
        el("span", { class: "track" }, svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" }, svg("rect", { class: "useful", width: (stage.watts / most) * 100, height: 10 }))),
        el("span", { class: "figure" }, write("power", stage.watts, most)),
        stage.loss ? el("small", {}, lossText(stage.loss, most)) : null,
      ),
    );
  }
  const lossText = (loss, most) => (loss.watts < 0 ? `${loss.name}: the meters disagree by ${write("power", -loss.watts, most)}` : `less: ${loss.name} ${write("power", loss.watts, most)}`);

  function drawing(stages, width, height, end) {
    const k = TokenWatt.scale();
    const colours = TokenWatt.colours();
    const top = 48 * k;
    const bar = 8 * k;
    const right = 190 * k;
    const gap = (width - right - bar) / Math.max(1, stages.length - 1);
    const most = stages[0].watts;
    const tallest = Math.min(height - top - 100 * k, 280 * k);
    const thick = (watts) => (Math.max(0, watts) / most) * tallest;
    const opacity = TokenWatt.isLight() ? 0.3 : 0.34;
    const parts = stages.map((stage, i) => {
      const x = i * gap;
      const high = thick(stage.watts);
      const next = stages[i + 1];
      const [number, unit] = write("power", stage.watts, most).split(" ");
      return [
        next ? svg("rect", { x: x + bar, y: top, width: gap - bar, height: Math.min(high, thick(next.watts)), fill: colours.accent, opacity }) : null,
        next ? peel(stage.loss, x + bar, top + thick(next.watts), gap, top + tallest + 34 * k, thick(stage.loss.watts), most, k) : null,
        svg("rect", { x, y: top, width: bar, height: high, fill: colours.accent }),
        svg("text", { x, y: top - 28 * k, class: "name", "font-size": 15 * k }, stage.name),
        svg("text", { x, y: top - 8 * k, class: "figure", "font-size": 18 * k }, number, svg("tspan", { class: "unit", dx: 4 * k, "font-size": 13 * k }, `${unit}${stage.covered < 0.995 ? ` (${TokenWatt.coverage(stage.covered)})` : ""}`)),
      ];
    });
    const words = end.map(([figure, note], i) => [
      svg("text", { x: width - right + bar + 14 * k, y: top + (20 + i * 50) * k, class: "figure", "font-size": 18 * k }, figure),
      svg("text", { x: width - right + bar + 14 * k, y: top + (40 + i * 50) * k, class: "unit", "font-size": 13 * k }, note),
    ]);
    return [parts, words].flat(3).filter(Boolean);
  }

  function peel(loss, x, y, gap, level, thick, most, k) {
    const colours = TokenWatt.colours();
    const to = x + gap * 0.34;
    const middle = (x + to) / 2;
    const t = Math.max(1, thick);
    const figure = loss.watts < 0 ? "meters disagree" : write("power", loss.watts, most);
    const share = loss.watts < 0 ? "" : ` · ${((loss.watts / most) * 100).toFixed(1)} %`;
    return [
      loss.watts < 0 ? null : svg("path", { d: `M${x} ${y}C${middle} ${y} ${middle} ${level} ${to} ${level}V${level + t}C${middle} ${level + t} ${middle} ${y + t} ${x} ${y + t}z`, fill: colours.data2, opacity: 0.45 }),
      loss.watts < 0 ? null : svg("rect", { x: to, y: level, width: 3 * k, height: t, fill: colours.data }),
      svg("text", { x: to + 11 * k, y: level + 12 * k, class: "name", "font-size": 15 * k }, loss.name),
      svg("text", { x: to + 11 * k, y: level + 33 * k, class: "figure", "font-size": 15 * k }, figure, svg("tspan", { class: "unit" }, share)),
    ];
  }

  function ending(live) {
    const { numbers } = live.snapshot;
    const tokens = TokenWatt.read(numbers.output_tokens_per_second);
    const facility = TokenWatt.read(numbers.tokens_per_joule_facility);
    return [
      tokens.value === undefined ? null : [write("rate", tokens.value), "output tokens"],
      facility.value === undefined ? null : [write("yield", facility.value), "at the site meter"],
    ].filter(Boolean);
  }

  TokenWatt.widgets.flow = function (node, spec, live) {
    if (TokenWatt.shows(node, live)) return;
    const stages = idleLoss(trunk(spec, live), live);
    if (stages.length < 2) {
      TokenWatt.redraw(node, el("p", { class: "empty" }, "Power is not measured at two boundaries yet."));
      return;
    }
    const { width, height } = TokenWatt.room(node);
    if (width < NARROW_PX) {
      TokenWatt.redraw(node, bars(stages));
      return;
    }
    const says = stages.map((stage) => `${stage.name} ${write("power", stage.watts)}`).join(", ");
    const picture = svg("svg", { class: "flowchart", width, height, role: "img", "aria-label": `Power: ${says}` });
    picture.append(...drawing(stages, width, height, ending(live)));
    TokenWatt.redraw(node, picture);
  };
})();
