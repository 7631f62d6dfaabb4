// The monitor page: asks again every few seconds; alarms in words, each metric against what was expected of it.

import { $, h, s, sentence } from "./dom.js";
import { call } from "./net.js";
import { figure, lookingAgain, percent, when } from "./page.js";

const AGAIN_MS = 5000;
const state = { drawn: "", by: "days" };
const round = (value) => Math.round(value * 10) / 10;

/** A metric against time: seen as a line, expected dotted, hours of an alarm shaded. */
function course(rows, width, label) {
  const [height, left, right, top, bottom] = [170, 52, 8, 10, 24];
  const ends = rows.flatMap((r) => [r.value, r.expected]).filter((v) => v !== null);
  if (!ends.length) return h("p", { class: "note" }, "Nothing to show yet.");
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const [floor, roof] = [low - 0.08 * (high - low || Math.abs(low) || 1), high + 0.08 * (high - low || Math.abs(high) || 1)];
  const x = (i) => round(left + (rows.length === 1 ? 0.5 : i / (rows.length - 1)) * (width - left - right));
  const y = (v) => round(top + ((roof - v) / (roof - floor)) * (height - top - bottom));
  const path = (key) => rows.map((r, i) => (r[key] === null ? "" : `${i && rows[i - 1][key] !== null ? "L" : "M"}${x(i)} ${y(r[key])}`)).join("");
  const half = rows.length > 1 ? (x(1) - x(0)) / 2 : 8;
  return s("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label },
    [low, high].flatMap((tick) => [
      s("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      s("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, figure(tick)),
    ]),
    rows.map((r, i) => (r.height ?? 0) >= 1 && s("rect", { class: "over", x: x(i) - half, y: top, width: 2 * half, height: height - top - bottom })),
    s("path", { class: "expected", d: path("expected") }),
    s("path", { class: "seen", d: path("value") }),
    rows.map((r, i) => r.value !== null && s("circle", { cx: x(i), cy: y(r.value), r: 5, fill: "transparent" },
      s("title", {}, `${when(r.at)}: ${figure(r.value)}, expected ${figure(r.expected)}`))),
    [[0, "start"], [rows.length - 1, "end"]].map(([i, anchor]) => s("text", { x: x(i), y: height - 6, "text-anchor": anchor }, when(rows[i].at))));
}

function verdict(metric) {
  if (metric.daily_noise === null) return "Too little history: a baseline needs two whole weeks.";
  if (metric.raised) return `Alarm: ${percent(metric.off)} off what is usual.`;
  if (metric.warned) return `Warning: ${percent(metric.off)} off what is usual.`;
  return "As usual for these hours of the week.";
}

function card(metric) {
  const chart = h("div", { class: "chart" });
  const rows = metric[state.by];
  const made = h("section", { class: "card" },
    h("h2", {}, sentence(metric.name ? `${metric.text}, ${metric.name}` : metric.text)),
    h("p", { class: "note" }, `${verdict(metric)}${metric.daily_noise === null ? "" : ` A day varies by ${(100 * metric.daily_noise).toFixed(1)} %.`}`), chart);
  return { made, draw: () => rows.length && chart.append(course(rows, Math.max(chart.clientWidth, 240), `${metric.text} against time`)) };
}

const alarmCard = (alarm) => h("section", { class: `card alarm alarm-${alarm.level}` },
  h("h2", {}, sentence(alarm.words)),
  h("dl", {},
    h("dt", {}, "Level"), h("dd", {}, alarm.level),
    h("dt", {}, "Since"), h("dd", {}, `${when(alarm.since)}, noticed ${when(alarm.opened)}`),
    h("dt", {}, "Changed first"), h("dd", {}, sentence(alarm.first)),
    h("dt", {}, "Look at"), h("dd", {}, sentence(alarm.look))));

const table = (names, rows) => [h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows)];

const DRIFTS = 8;

function drift(rows) {
  const first = Math.max(DRIFTS, rows.filter((r) => r.out).length);
  const cells = (some) => h("table", {}, table(["quantity", "PSI", "band"],
    some.map((r) => h("tr", { class: r.out ? "out" : null }, h("td", {}, r.name), h("td", {}, r.psi.toFixed(3)), h("td", {}, r.band.toFixed(3))))));
  return rows.length && h("section", { class: "card" }, h("h2", {}, "Drift of what goes in and comes out"),
    h("p", { class: "note" }, "Yesterday against the two weeks before, the furthest out first. The band is what days differ by when nothing changes."),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Drift" }, cells(rows.slice(0, first)),
      rows.length > first && h("details", {}, h("summary", {}, `${rows.length - first} more, all within their bands`), cells(rows.slice(first)))));
}

const part = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(0)} %`);

function model(told) {
  if (!told) return h("section", { class: "card" }, h("h2", {}, "The model"), h("p", { class: "note" }, "Nothing was trained yet."));
  const facts = [["Version", told.version], ["Learned up to", `${when(told.trained_to)}, ${told.age_days.toFixed(1)} days ago`],
    [`${told.metric}, held out by the night`, figure(told.night)], [`${told.metric}, days since`, figure(told.since)],
    ["Calibration slope (1 is right)", figure(told.calibration_slope)], ["Catalogue shown", part(told.coverage)],
    ["By the model before", part(told.coverage_before)], ["Same top 20 as the model before", part(told.overlap)]];
  return h("section", { class: "card alarm" }, h("h2", {}, "The model"),
    h("dl", {}, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function draw(told) {
  const open = told.alarms.filter((a) => a.closed === null);
  const grave = open.filter((a) => a.level === "alarm").length;
  $("lead").replaceChildren(h("strong", {}, open.length ? `${grave} open ${grave === 1 ? "alarm" : "alarms"}, ${open.length - grave} ${open.length - grave === 1 ? "warning" : "warnings"}.` : told.behind ? "Still reading the log." : "Nothing is off."),
    told.newest ? ` The newest event is of ${when(told.newest)}.` : told.behind ? "" : " There are no events yet.", told.behind ? ` ${told.behind.toLocaleString()} events are still to be read.` : "",
    told.verdict ? ` ${sentence(told.verdict)}.` : "");
  $("alarms").replaceChildren(...open.map(alarmCard));
  const button = ([key, text]) => h("button", { class: "chip", type: "button", "aria-pressed": String(state.by === key), onclick: () => { state.by = key; draw(told); } }, text);
  $("pickers").replaceChildren(h("div", { class: "picker", role: "group", "aria-label": "Time" }, [["days", "By day"], ["hours", "By hour, seven days"]].map(button)));
  const cards = [...told.metrics, ...told.segments].map(card);
  $("metrics").replaceChildren(...cards.map((one) => one.made));
  for (const one of cards) one.draw();
  $("rest").replaceChildren(...[model(told.model), drift(told.drift)].filter(Boolean));
  const past = told.alarms.filter((a) => a.closed !== null);
  $("past").hidden = !past.length;
  $("table").replaceChildren(...table(["opened", "closed", "level", "what", "changed first"], past.map((a) => h("tr", {},
    [when(a.opened), when(a.closed), a.level].map((cell) => h("td", {}, cell)), h("td", { class: "words" }, a.words), h("td", { class: "words" }, a.first)))));
  $("monitor").setAttribute("aria-busy", "false");
}

async function look() {
  const told = await call("GET", "/v1/monitor");
  const drawn = JSON.stringify({ ...told, now: 0 });
  if (drawn !== state.drawn) draw(told);
  state.drawn = drawn;
}

lookingAgain("monitor", look, AGAIN_MS);
