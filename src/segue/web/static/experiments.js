// The experiments page: asks again every few seconds, and draws each metric's lift against time with its always-valid interval.

import { $, h, s, sentence } from "./dom.js";
import { call } from "./net.js";
import { figure, looking, lookingAgain, percent, when } from "./page.js";

const AGAIN_MS = 5000;
const state = { name: null, drawn: "" };
const round = (value) => Math.round(value * 10) / 10;
const day = (ms) => new Date(ms).toLocaleDateString(undefined, { month: "short", day: "numeric" });

/** A chart against time: bands and lines of some series, between the ends of what matters. */
function course(rows, series, width, { label, zero, text }) {
  const [height, left, right, top, bottom] = [160, 56, 8, 10, 22];
  const known = (key) => rows.map((row) => row[key]).filter((v) => v !== null && v !== undefined);
  const last = series.flatMap((one) => [one.low, one.value, one.high].map((key) => known(key).at(-1) ?? 0));
  const ends = zero ? [...last, 0] : last;
  const room = 0.6 * (Math.max(...ends) - Math.min(...ends) || 0.01); // early bands are endless: they may leave the picture
  const values = [...series.flatMap((one) => [...known(one.value), ...known(one.low), ...known(one.high)]), ...ends];
  const [floor, roof] = [Math.max(Math.min(...values), Math.min(...ends) - room), Math.min(Math.max(...values), Math.max(...ends) + room)];
  const x = (at) => round(left + (rows.length === 1 ? 0.5 : (at - rows[0].at) / (rows.at(-1).at - rows[0].at)) * (width - left - right));
  const y = (v) => round(top + ((roof - Math.max(floor, Math.min(roof, v))) / (roof - floor || 1)) * (height - top - bottom));
  const points = (key, list = rows) => list.filter((row) => row[key] !== null && row[key] !== undefined).map((row) => `${x(row.at)},${y(row[key])}`);
  const ends0 = zero && floor < 0 && roof > 0 ? [0] : [];
  const ticks = [...[floor, roof].filter((v) => !ends0.length || Math.abs(y(v) - y(0)) > 14), ...ends0];
  return s("svg", { role: "img", "aria-label": label, height, viewBox: `0 0 ${width} ${height}` },
    ticks.map((v) => [
      s("line", { class: v === 0 ? "nothing" : "grid", x1: left, x2: width - right, y1: y(v), y2: y(v) }),
      s("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, text(v)),
    ]).flat(),
    series.map((one) => s("polygon", { class: `band ${one.kind}`, points: [...points(one.high), ...points(one.low).reverse()].join(" ") })),
    series.map((one) => s("polyline", { class: `course ${one.kind}`, points: points(one.value).join(" ") })),
    series.map((one) => rows.filter((row) => row[one.value] !== null).map((row) => s("circle", { class: `spot ${one.kind}`, cx: x(row.at), cy: y(row[one.value]), r: 3 },
      s("title", {}, `${when(row.at)}: ${one.name} ${text(row[one.value])} (${text(row[one.low])} to ${text(row[one.high])})`)))).flat(),
    [[rows[0], "start"], [rows.at(-1), "end"]].slice(0, rows.length).map(([row, anchor]) => s("text", { x: x(row.at), y: height - 5, "text-anchor": anchor }, day(row.at))));
}

const LIFT = [{ value: "lift", low: "low", high: "high", name: "lift", kind: "new" }];
const ARMS = [{ value: "old", low: "old_low", high: "old_high", name: "old", kind: "old" }, { value: "new", low: "new_low", high: "new_high", name: "new", kind: "new" }];
const key = () => h("p", { class: "legend" }, ["old", "new"].map((arm) => h("span", {}, h("i", { class: `swatch ${arm}` }), arm === "old" ? "old, the control" : "new")),
  "bands hold at every look, however often one looks");

function card(metric) {
  const known = metric.lift !== undefined && metric.lift !== null;
  const [lift, arms] = [h("div", { class: "chart" }), h("div", { class: "chart" })];
  const word = metric.words.startsWith("certainly better") ? "better" : metric.words.startsWith("certainly worse") ? "worse" : "";
  const made = h("section", { class: "card" },
    h("h2", {}, `${sentence(metric.metric.replaceAll("_", " "))}${metric.primary ? " (decides)" : ""}`),
    h("p", { class: "note" }, sentence(metric.text)),
    h("p", { class: "number" }, known ? percent(metric.lift) : "–", " ", h("small", {}, known ? `${percent(metric.always_low)} to ${percent(metric.always_high)}, valid at any time` : "")),
    h("p", { class: "against" }, known ? `old ${figure(metric.old)} (${metric.users_old.toLocaleString()} listeners) · new ${figure(metric.new)} (${metric.users_new.toLocaleString()})` : ""),
    h("p", { class: `words ${word}` }, sentence(metric.words)), lift, arms, metric.course.length ? key() : null);
  const draw = () => {
    if (!metric.course.length) return;
    const width = Math.max(lift.clientWidth, 240);
    lift.append(course(metric.course, LIFT, width, { label: `Lift in ${metric.text} against time`, zero: true, text: percent }));
    arms.append(course(metric.course, ARMS, width, { label: `${sentence(metric.text)} against time, by arm`, zero: false, text: figure }));
  };
  return { made, draw };
}

function answers(health) {
  const said = Object.entries(health || {}).filter(([, row]) => row.answers > 0).map(([arm, row]) =>
    `${arm} ${(100 * row.failed).toFixed(1)} % failed, ${(100 * row.late).toFixed(1)} % late, half within ${row.p50_ms === null ? "more than 5000" : row.p50_ms.toFixed(1)} ms`);
  return said.length ? ` Answers of this step: ${said.join("; ")}.` : "";
}

function shared(p) {
  if (!p.listeners) return " Nobody has heard of both yet.";
  const share = (delta) => `${(100 * (0.5 + delta)).toFixed(1)} %`;
  return ` Of ${p.listeners.toLocaleString()} listeners ${p.theirs.toLocaleString()} heard more of new, ${p.ours.toLocaleString()} more of old, ${p.ties.toLocaleString()} as much of both: new is preferred by ${share(p.delta)}, ties halved, ${share(p.always_low)} to ${share(p.always_high)} valid at any time (${p.words}).`;
}

const FATES = { shipped: "better", "rolled back": "worse" };
const fate = (one) => FATES[one.ended] ?? (one.held ? "worse" : "");

function draw(list, told) {
  $("pickers").replaceChildren(h("div", { class: "picker", role: "group", "aria-label": "Experiment" }, list.map((one) =>
    h("button", { class: "chip", type: "button", "aria-pressed": String(one.name === state.name), onclick: () => { state.name = one.name; looking("experiments", look); } },
      one.name, h("small", { class: `fate ${fate(one)}` }, one.ended || (one.held ? "held" : "running"))))));
  if (!told) {
    $("lead").textContent = "No experiment has been started yet: segue experiment start PLAN.toml";
  } else {
    const counts = Object.entries(told.assigned).map(([arm, n]) => `${n.toLocaleString()} ${arm}`).join(", ");
    $("lead").replaceChildren(h("strong", { class: fate(told) }, told.verdict), ` ${sentence(told.hypothesis)}. Step ${told.step + 1} of ${told.steps}; first influenced: ${counts}.`,
      told.a_a && told.a_a.lift !== null ? ` Old against old: ${percent(told.a_a.lift)}, z = ${figure(told.a_a.z)}: nothing is to be found there.` : "",
      told.preference ? shared(told.preference) : null, answers(told.health));
    const cards = told.metrics.map(card);
    $("metrics").replaceChildren(...cards.map((one) => one.made));
    for (const one of cards) one.draw();
    $("table").replaceChildren(
      h("thead", {}, h("tr", {}, ["when", "by", "what", "why"].map((name) => h("th", { scope: "col", class: name === "why" ? "words" : null }, name)))),
      h("tbody", {}, [...told.trail].reverse().map((e) => h("tr", {}, [when(e.at), e.by, e.what].map((cell) => h("td", {}, cell)), h("td", { class: "words" }, sentence(e.why))))));
    $("trail").hidden = false;
  }
  $("experiments").setAttribute("aria-busy", "false");
}

async function look() {
  const { experiments } = await call("GET", "/v1/experiments");
  if (!experiments.some((one) => one.name === state.name)) state.name = experiments[0]?.name ?? null;
  const told = state.name && await call("GET", `/v1/experiments/${encodeURIComponent(state.name)}`);
  const drawn = JSON.stringify([experiments, told]);
  if (drawn !== state.drawn) draw(experiments, told);
  state.drawn = drawn;
}

lookingAgain("experiments", look, AGAIN_MS);
