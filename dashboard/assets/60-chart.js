// Time series. Plotly draws them from the history, every 20 s; names and values stand at the line ends, not in a legend.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const LEAST_SPAN_SECONDS = 60;

  function font(k) {
    return (TokenWatt.isWall() ? 17 : 13) * k;
  }

  // Lines end where the history does; labels too close to each other move apart.
  function endLabels(ends, range, height, size, k) {
    const pixels = (v) => ((range[1] - v) / (range[1] - range[0])) * height;
    const sorted = [...ends].sort((a, b) => b.value - a.value);
    let floor = -Infinity;
    return sorted.map((end) => {
      const at = Math.max(pixels(end.value), floor);
      floor = at + size * 1.25;
      return { ...end, shift: pixels(end.value) - at };
    }).map((end) => ({
      x: end.time,
      y: end.value / end.factor,
      text: end.text,
      showarrow: false,
      xanchor: "left",
      xshift: 8 * k,
      yshift: end.shift,
      font: { size, color: TokenWatt.colours().text },
    }));
  }

  function known(history, lines) {
    return lines
      .map((line) => {
        const values = history.series[line.series] || [];
        const last = values.findLastIndex((v) => v !== null);
        return { ...line, values, first: values.findIndex((v) => v !== null), last, value: values[last] };
      })
      .filter((line) => line.last >= 0);
  }

  function figure(spec, live, node) {
    const { history, snapshot } = live;
    const lines = known(history, spec.lines);
    if (!lines.length) return null;
    const colours = TokenWatt.colours();
    const k = TokenWatt.scale();
    const size = font(k);
    // What stands at 0 has no size of its own: then the largest value gives the unit.
    const scale = lines[0].value || Math.max(...lines.flatMap((line) => line.values.filter((v) => v !== null)));
    const { factor, unit } = TokenWatt.format(spec.form, scale);
    const bound = spec.bound ? TokenWatt.bound(snapshot.numbers[spec.bound], spec.better, (v) => TokenWatt.format(spec.form, v, scale).text) : null;
    const every = lines.flatMap((line) => line.values.filter((v) => v !== null));
    const edges = TokenWatt.nearEdges(bound, lines[0].value);
    const range = TokenWatt.range(every, edges);
    if (spec.from_zero) range[0] = 0;
    const time = (i) => (history.start + i * history.step) * 1000;
    const end = Math.max(...lines.map((line) => time(line.last)));
    const begin = Math.min(Math.min(...lines.map((line) => time(line.first))), end - LEAST_SPAN_SECONDS * 1000);
    const text = (line) => [line.name, TokenWatt.format(spec.form, line.value, scale).text].filter(Boolean).join(" ");
    const widest = Math.max(...lines.map((line) => text(line).length));
    const margin = { l: size * 3.1, r: size * (0.9 + 0.58 * widest), t: 8 * k, b: size * 2.2 };
    const ends = lines.map((line) => ({ time: time(line.last), value: line.value, text: text(line), factor }));
    return {
      unit,
      seconds: (end - begin) / 1000,
      aria: lines.map(text).join(", "),
      data: [...lines.map((line) => trace(line, line.values, time, factor, colours[line.colour], 2 * k)), ...beyond(lines, bound, edges, time, factor, k)],
      layout: {
        template: TokenWatt.theme().template,
        margin,
        width: node.clientWidth,
        height: node.clientHeight,
        font: { size },
        xaxis: { range: [begin, end], tickfont: { size }, ticklabelstandoff: Math.round(size * 0.35), tick0: 0, dtick: minutes((end - begin) / 60000, node.clientWidth / (size * 7)) * 60000 },
        yaxis: { range: range.map((v) => v / factor), tickfont: { size } },
        shapes: edges.map((edge) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: edge / factor, y1: edge / factor, line: { color: colours.faint, width: k, dash: "4px,4px" } })),
        annotations: [...endLabels(ends, range, node.clientHeight - margin.t - margin.b, size, k), ...boundLabel(bound, edges, lines, { range, factor, size, height: node.clientHeight - margin.t - margin.b }, k)],
      },
    };
  }

  // Whole minutes between two labels, so that no label comes twice.
  const minutes = (span, labels) => [1, 2, 5, 10, 15, 20].find((step) => span / step <= labels) || 30;

  function trace(line, values, time, factor, color, width) {
    return {
      type: "scatter",
      mode: "lines",
      name: line.name || "value",
      x: values.map((_, i) => time(i)),
      y: values.map((v) => (v === null ? null : v / factor)),
      line: { color, width },
      connectgaps: false,
      hovertemplate: "%{y:.4~g}<extra>%{fullData.name}</extra>",
    };
  }

  // The part of the first line that is beyond its bound, over the line itself.
  function beyond(lines, bound, edges, time, factor, k) {
    if (!bound || !edges.length || !bound.priority) return [];
    const values = lines[0].values.map((v) => (v !== null && bound.beyond(v) ? v : null));
    return [{ ...trace(lines[0], values, time, factor, TokenWatt.alarmLine(bound.priority), 3.5 * k), hoverinfo: "skip", hovertemplate: undefined }];
  }

  // The bound's name stands on its line at the left: above or below, wherever fewer of the values run.
  function boundLabel(bound, edges, lines, { range, factor, size, height }, k) {
    if (!edges.length) return [];
    const edge = edges.at(-1);
    const tall = ((range[1] - range[0]) / height) * size * 1.3;
    const early = lines.flatMap((line) => line.values.slice(line.first, line.first + (line.last - line.first) * 0.35));
    const within = (low, high) => early.filter((v) => v !== null && v > low && v < high).length + (low < range[0] || high > range[1] ? 1e6 : 0);
    const above = within(edge, edge + tall) <= within(edge - tall, edge);
    const plain = edges.length === bound.edges.length ? bound.text : `limit ${TokenWatt.count(edge / factor)}`;
    const text = lines.length > 1 ? `${lines[0].name} ${plain}` : plain; // of several lines it bounds the first
    return [{ xref: "paper", x: 0, y: edge / factor, text, showarrow: false, xanchor: "left", yanchor: above ? "bottom" : "top", xshift: 4 * k, font: { size, color: TokenWatt.colours().faint } }];
  }

  TokenWatt.widgets.chart = function (node, spec, live) {
    TokenWatt.drawChart(node, spec, live, node.closest(".card").querySelector("h2 small"));
  };

  // `live` holds the history that is drawn; `small` says its unit and span.
  TokenWatt.drawChart = function (node, spec, live, small) {
    const { width, height } = TokenWatt.room(node);
    if (!window.Plotly || !live.history || !width) return;
    const key = [live.history.time, width, height, document.documentElement.dataset.theme].join();
    if (node.dataset.key === key) return;
    node.dataset.key = key;
    const drawn = figure(spec, live, node);
    node.dataset.empty = String(!drawn);
    if (!drawn) {
      window.Plotly.purge(node);
      node.replaceChildren(TokenWatt.el("p", { class: "empty" }, "No history yet"));
      small.textContent = "";
      return;
    }
    if (node.querySelector(".empty")) node.replaceChildren();
    small.textContent = [drawn.unit, drawn.seconds >= 3500 ? "1 h" : `last ${Math.max(1, Math.round(drawn.seconds / 60))} min`].filter(Boolean).join(", ");
    node.setAttribute("aria-label", `${spec.title}, ${small.textContent}: ${drawn.aria}`);
    window.Plotly.react(node, drawn.data, drawn.layout, window.TOKENWATT_THEME.config);
  };
})();
