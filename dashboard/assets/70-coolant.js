// The coolant loop as a mimic: facility water, one line per CDU, its pumps, its racks. Any number of CDUs; many scroll.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const { el, svg, format } = TokenWatt;
  const WIDTH = 1180;
  const HEAD = 52;
  const MOST_PITCH = 230;
  const LEAST_PITCH = 114;
  const OLD_SECONDS = 30;

  const text = (x, y, words, look, anchor) => svg("text", { x, y, class: look || "", "text-anchor": anchor || "start" }, words);
  const pipe = (d, back) => svg("path", { class: `pipe ${back ? "return" : ""}`, d });
  const box = (x, y, width, height, look) => svg("rect", { class: `equipment ${look || ""}`, x, y, width, height, rx: 3 });

  function value(x, y, form, number, anchor) {
    if (number === null || number === undefined) return text(x, y, TokenWatt.NONE, "unit", anchor);
    const written = format(form, number);
    return svg("text", { x, y, class: "value", "text-anchor": anchor || "start" }, written.text, svg("tspan", { class: "unit", dx: 4 }, written.unit));
  }

  function pump(x, y, ratio) {
    const runs = ratio > 0.01;
    return [
      svg("circle", { class: "equipment", cx: x, cy: y, r: 13 }),
      svg("path", { class: runs ? "impeller" : "impeller still", d: `M${x - 6} ${y - 8}L${x + 10} ${y}L${x - 6} ${y + 8}z` }),
    ];
  }

  // A moving pointer against the normal range: a deviation is a shape before it is an alarm.
  function gauge(x, y, width, share, low, high) {
    const at = (ratio) => x + Math.max(0, Math.min(1.2, ratio)) / 1.2 * width;
    return [
      svg("rect", { class: "track", x, y, width, height: 8 }),
      svg("rect", { class: "normal", x: at(low), y, width: at(high) - at(low), height: 8 }),
      share === null ? null : svg("path", { class: "pointer", d: `M${at(share)} ${y + 8}l-6 9h12z` }),
    ];
  }

  function heads() {
    const names = [[290, "CDU"], [412, "Pumps"]].map(([x, name]) => text(x, 22, name, "label", "middle"));
    return [
      text(16, 22, "Facility water", "label"),
      ...names,
      text(492, 22, "Supply, return", "label"),
      text(620, 22, "Flow, differential", "label"),
      text(838, 22, "Racks", "label", "middle"),
      text(1052, 22, "Against normal range", "label", "middle"),
    ];
  }

  // "A01 – A14", or the names while they are few.
  function rackNames(names) {
    if (!names.length) return TokenWatt.NONE;
    if (names.length <= 2) return names.join(", ");
    return `${names[0]} – ${names.at(-1)}`;
  }

  const known = (values) => values.filter((v) => v !== null && v !== undefined);
  const mean = (values) => (known(values).length ? known(values).reduce((a, b) => a + b, 0) / known(values).length : null);

  // The gravest alarm of a CDU stands at its corner: shape, colour and digit.
  function flag(alarm, x, y) {
    if (!alarm) return null;
    const digit = text(12, alarm.priority === 2 ? 19 : 17, String(alarm.priority), "digit", "middle");
    return svg("g", { class: `p${alarm.priority}`, transform: `translate(${x - 13} ${y - 13})` }, TokenWatt.shape(alarm.priority), digit);
  }

  function line(cdu, y, alarm) {
    const back = y + 44;
    const silent = cdu.age === null || cdu.age === undefined || cdu.age > OLD_SECONDS;
    const speed = silent ? null : mean(cdu.pumps || []);
    const load = !silent && cdu.rated_watts && cdu.heat_watts !== null ? cdu.heat_watts / cdu.rated_watts : null;
    return svg(
      "g",
      { class: silent ? "silent" : "" },
      pipe(`M96 ${y}H236`), pipe(`M96 ${back}H236`, true), pipe(`M344 ${y}H762`), pipe(`M762 ${back}H344`, true),
      value(104, y - 9, "celsius", cdu.fws_supply_celsius), value(104, back - 9, "celsius", cdu.fws_return_celsius),
      box(236, y - 30, 108, 104, alarm ? `abnormal p${alarm.priority}` : ""),
      text(290, y - 10, cdu.name, "heading", "middle"),
      svg("path", { class: "plates", d: `M250 ${y}l12 11l-12 11l12 11l-12 11M330 ${y}l-12 11l12 11l-12 11l12 11` }),
      svg("path", { class: "divide", d: `M290 ${y}v46` }),
      flag(alarm, 344, y - 30),
      text(290, y + 66, silent ? "no data" : cdu.rated_watts ? `of ${TokenWatt.write("power", cdu.rated_watts)}` : "", "label", "middle"),
      pumps(cdu, y, speed),
      value(492, y - 9, "celsius", cdu.tcs_supply_celsius), value(492, back - 9, "celsius", cdu.tcs_return_celsius),
      value(620, y - 9, "flow", cdu.tcs_flow_liters_per_second), value(620, back - 9, "pressure", cdu.differential_pressure_pascals),
      box(762, y - 30, 152, 104),
      text(838, y - 8, rackNames(cdu.racks), "heading", "middle"),
      value(838, y + 22, "power", cdu.heat_watts, "middle"),
      text(838, y + 46, `${cdu.racks.length} ${cdu.racks.length === 1 ? "rack" : "racks"}`, "unit", "middle"),
      text(950, y - 2, "Load", "label"), gauge(1044, y - 12, 120, load, 0.1, 0.95),
      text(950, y + 34, "Pump speed", "label"), gauge(1044, y + 24, 120, speed, 0.2, 0.9),
    );
  }

  function pumps(cdu, y, speed) {
    const speeds = (cdu.pumps || []).slice(0, 3);
    const first = 412 - (speeds.length - 1) * 16;
    return [
      speeds.map((ratio, i) => pump(first + i * 32, y, ratio)),
      text(412, y + 32, speed === null ? TokenWatt.NONE : `${Math.round(speed * 100)} %`, "label", "middle"),
    ];
  }

  function header(count, pitch) {
    if (count < 1) return [];
    const last = HEAD + 30 + (count - 1) * pitch;
    return [
      box(16, HEAD, 80, last + 74 - HEAD),
      text(56, (HEAD + last + 74) / 2, "Facility", "label", "middle"),
      text(56, (HEAD + last + 74) / 2 + 18, "loop", "label", "middle"),
    ];
  }

  TokenWatt.widgets.coolant = function (node, spec, live) {
    const { cdus } = live.snapshot;
    const alarms = TokenWatt.sortAlarms(live.snapshot.alarms);
    if (!cdus.length) {
      node.replaceChildren(el("p", { class: "empty" }, "No coolant distribution unit reports here."));
      return;
    }
    const scale = Math.max(0.62, node.clientWidth / WIDTH);
    const room = node.clientHeight / scale - HEAD - 20;
    const pitch = Math.max(LEAST_PITCH, Math.min(MOST_PITCH, room / cdus.length));
    const height = HEAD + 30 + (cdus.length - 1) * pitch + 92;
    const says = cdus.map((cdu) => `${cdu.name} supply ${TokenWatt.write("celsius", cdu.tcs_supply_celsius)} return ${TokenWatt.write("celsius", cdu.tcs_return_celsius)}`);
    const picture = svg("svg", { class: "mimic", viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH * scale, height: height * scale, role: "img", "aria-label": `Coolant loop: ${says.join("; ")}` });
    picture.append(...heads(), ...header(cdus.length, pitch), ...cdus.map((cdu, i) => line(cdu, HEAD + 30 + i * pitch, alarms.find((alarm) => alarm.object === cdu.name))));
    const top = node.scrollTop;
    node.replaceChildren(picture);
    node.scrollTop = top;
  };
})();
