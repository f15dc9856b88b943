// How quantities are written. Numbers arrive in base units and leave here, once, in the unit that people read.
(function () {
  "use strict";
  const TokenWatt = window.TokenWatt;
  const THIN = "\u2009";
  const NONE = "\u2014";

  function grouped(text) {
    const [whole, fraction] = text.split(".");
    const spaced = whole.replace(/\B(?=(\d{3})+$)/g, THIN).replace("-", "\u2212");
    return fraction ? `${spaced}.${fraction}` : spaced;
  }
  const fixed = (value, decimals) => grouped(value.toFixed(decimals));

  // Three significant digits, without an exponent: 0.0312, 3.31, 54.3, 954.
  function significant(value) {
    const size = Math.abs(value);
    if (size < 1e-6) return "0";
    const decimals = 2 - Math.floor(Math.log10(size) + 1e-9);
    return fixed(value, Math.min(6, Math.max(0, decimals)));
  }

  // Small shares of time matter only as not being nothing: 0, <0.01, 0.42, 12.5.
  const fraction = (value) => (value === 0 ? "0" : value < 0.005 ? "<0.01" : fixed(value, value < 9.995 ? 2 : 1));

  // A bit error ratio spans ten decades: 1.2e−9.
  const exponential = (value) => (value <= 0 ? "0" : value.toExponential(1).replace("-", "\u2212"));

  // A unit that follows the size of the number; `like` makes a bound use the unit of its value.
  function scaled(steps) {
    return (value, like) => {
      const size = Math.abs(like === undefined ? value : like);
      const [unit, factor] = steps.findLast(([, at]) => size >= at * 0.9995) || steps[0];
      return { text: significant(value / factor), unit, factor };
    };
  }
  const plain = (write, unit, factor) => (value) => ({ text: write(value * (factor || 1)), unit, factor: 1 / (factor || 1) });
  const decimals = (count) => (value) => fixed(value, count);

  const FORMS = {
    power: scaled([["W", 1], ["kW", 1e3], ["MW", 1e6], ["GW", 1e9]]),
    kilowatts: plain(significant, "kW", 1e-3),
    rate: scaled([["tok/s", 1], ["k tok/s", 1e3], ["M tok/s", 1e6], ["G tok/s", 1e9]]),
    yield: plain(significant, "tok/s per W"),
    count: plain(decimals(0), ""),
    percent: plain(decimals(1), "%", 100),
    celsius: plain(decimals(1), "°C"),
    ratio: plain(decimals(2), ""),
    kelvin: plain(decimals(1), "K"),
    volts: plain(decimals(1), "V"),
    ripple: scaled([["mV", 1e-3], ["V", 1]]),
    amperes: scaled([["mA", 1e-3], ["A", 1], ["kA", 1e3]]),
    insulation: scaled([["Ω/V", 1], ["kΩ/V", 1e3], ["MΩ/V", 1e6]]),
    kiloohms: plain(significant, "kΩ/V", 1e-3),
    conductivity: plain(significant, "µS/cm", 1e4),
    turbidity: plain(significant, "NTU"),
    revolutions: plain(decimals(0), "rpm"),
    watt_hours: scaled([["Wh", 3600], ["kWh", 3.6e6]]),
    cost: (value) => ({ text: value < 100 ? fixed(value, 2) : fixed(value, 0), unit: "per hour", factor: 1 }),
    kilowatt_hours: plain(significant, "kWh", 1 / 3.6e6),
    flow: plain(significant, "L/min", 60),
    pressure: plain(decimals(0), "kPa", 1e-3),
    bits: scaled([["bit/s", 1], ["kbit/s", 1e3], ["Mbit/s", 1e6], ["Gbit/s", 1e9], ["Tbit/s", 1e12]]),
    gigabits: plain(significant, "Gbit/s", 1e-9),
    bytes: scaled([["B", 1], ["kB", 1e3], ["MB", 1e6], ["GB", 1e9]]),
    packets: scaled([["/s", 1], ["k/s", 1e3], ["M/s", 1e6], ["G/s", 1e9]]),
    share: plain(fraction, "%", 100),
    ppm: plain(significant, "ppm"),
    per_hour: plain(significant, "per hour"),
    ber: plain(exponential, ""),
    decibels: plain(decimals(1), "dB"),
    dbm: plain(decimals(1), "dBm"),
    milliamperes: plain(significant, "mA", 1e3),
    seconds: plain((value) => fixed(Math.abs(value) < 0.05 ? 0 : value, 1), "s"),
  };

  // Writes `value` in a form: {text, unit, factor}, where factor is what one displayed unit is in base units.
  TokenWatt.format = (form, value, like) => FORMS[form](value, like);
  TokenWatt.write = function (form, value, like) {
    if (value === null || value === undefined) return NONE;
    const { text, unit } = FORMS[form](value, like);
    return unit ? `${text} ${unit}` : text;
  };
  TokenWatt.NONE = NONE;

  // What may be shown of a live number, and why not more.
  TokenWatt.read = function (number) {
    if (!number) return { state: "absent", why: "not collected" };
    if (number.value === null || number.value === undefined || number.quality === 2) {
      return { state: "withheld", why: number.why || "no data" };
    }
    const covered = number.coverage === null || number.coverage === undefined ? 1 : number.coverage;
    const state = number.quality === 1 ? "partial" : number.age > TokenWatt.OLD_SECONDS ? "old" : "ok";
    return { state, value: number.value, covered, age: number.age, why: number.why || "" };
  };
  TokenWatt.OLD_SECONDS = 30;

  // 0.9996 is not whole: rounding up would claim a coverage that is not there.
  TokenWatt.coverage = (ratio) => `${fixed(ratio >= 1 ? 100 : Math.min(99, Math.floor(ratio * 100)), 0)} %`;

  TokenWatt.duration = function (seconds) {
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return `${s} s`;
    if (s < 600) return `${Math.floor(s / 60)} m ${s % 60} s`;
    if (s < 7200) return `${Math.floor(s / 60)} m`;
    if (s < 172800) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
  };
  TokenWatt.clock = (epoch) => new Date(epoch * 1000).toISOString().slice(11, 19);
  TokenWatt.count = (value) => fixed(value, 0);
})();
