// Elements, icons and words: the only place that makes nodes. Text goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

function fill(node, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element; strings among the children become text nodes. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** An SVG element. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

const ICONS = {
  hide: ["M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z", "m6 6 12 12"],
  like: ["M12 20s-7.5-4.6-7.5-10.2A4.3 4.3 0 0 1 12 7.2a4.3 4.3 0 0 1 7.5 2.6C19.500 15.400 12 20 12 20Z"],
  play: ["M8 5.500v13l11-6.500Z"],
  pause: ["M8.500 5.500v13", "M15.500 5.500v13"],
  skip: ["M5.500 5.500v13l9.500-6.500Z", "M18.500 5.500v13"],
  finish: ["m4.500 12.500 5 5 10-11"],
  radio: ["M12 12h.01", "M8.500 15.500a5 5 0 0 1 0-7", "M15.500 8.500a5 5 0 0 1 0 7", "M5.500 18.500a9.200 9.200 0 0 1 0-13", "M18.500 5.500a9.200 9.200 0 0 1 0 13"],
  loud: ["M4 9.500v5h3.500L12 18.500v-13L7.500 9.500Z", "M15.500 9a4.200 4.200 0 0 1 0 6", "M18 6.500a7.800 7.800 0 0 1 0 11"],
  muted: ["M4 9.500v5h3.500L12 18.500v-13L7.500 9.500Z", "m16 9.500 5 5", "m21 9.500-5 5"],
  close: ["m6 6 12 12", "M18 6 6 18"],
  spark: ["M12 4v5", "M12 15v5", "M4 12h5", "M15 12h5"],
};

/** A line icon, 24 units wide, hidden from screen readers: its button carries the words. */
export const icon = (name) =>
  s("svg", { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" }, ICONS[name].map((d) => s("path", { d })));

/** 3:07 of seconds. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** First letter in upper case, where the script has one. */
export const sentence = (text) => (text ? text.charAt(0).toLocaleUpperCase() + text.slice(1) : "");

const SOURCES = {
  als: "Your taste",
  cooccurrence: "Heard together",
  session_knn: "Sessions like this",
  user_knn: "Kindred listeners",
  item_knn: "Liked together",
  graph_filter: "Liked together",
  ease: "Liked together",
  sparse_ease: "Liked together",
  fresh: "New release",
  artist: "Same artist",
  popular: "Popular here",
  popularity: "Popular here",
  sound: "Sounds alike",
};

/** A source's name in a listener's words. */
export const sourceWords = (name) => SOURCES[name] ?? sentence(String(name).replaceAll("_", " "));

/** Whether the listener asked for stillness. */
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** A random id, also where crypto.randomUUID is missing (pages served over plain HTTP from another machine). */
export function randomId(bytes = 16) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((b) => b.toString(16).padStart(2, "0")).join("");
}
