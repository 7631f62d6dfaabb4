// The way to the server: requests with plain errors, and an outbox that loses no event while the server is away.

const KEY = "segue.key";
const PREFIX = "segue.event.";
const BATCH = 200;

/** What went wrong, in words; `offline` when the server was not reached at all. */
export class Problem extends Error {
  constructor(message, { status = 0, body = null } = {}) {
    super(message);
    this.status = status;
    this.body = body;
    this.offline = status === 0;
  }
}

let key = null;
try {
  key = sessionStorage.getItem(KEY);
} catch {
  // storage is switched off: the key lasts until the page is left
}

/** Remember the API key for this tab. */
export function setKey(text) {
  key = text.trim() || null;
  try {
    sessionStorage.setItem(KEY, text.trim());
  } catch {
    // as above
  }
}

/** JSON in, JSON out; rejects with a Problem, or an AbortError when `signal` said so. */
export async function call(method, path, body, signal) {
  const headers = {};
  if (key) headers["X-API-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server cannot be reached.");
  }
  const json = await answer.json().catch(() => null);
  if (answer.ok && json !== null) return json;
  throw new Problem(json?.detail ?? json?.title ?? `The server answered ${answer.status}.`, { status: answer.status, body: json });
}

/** Where a media element finds a path: the path itself, or a copy of the sound where the server wants a key with it. */
export async function mediaUrl(path) {
  if (!key) return path;
  const answer = await fetch(path, { headers: { "X-API-Key": key } });
  if (!answer.ok) throw new Problem(`The server answered ${answer.status}.`, { status: answer.status });
  return URL.createObjectURL(await answer.blob());
}

/** Events wait here until the server has said that they are stored. Each keeps its id, so sending twice counts once. */
export class Outbox {
  constructor({ changed = () => {}, refused = () => {} } = {}) {
    this.changed = changed;
    this.refused = refused;
    this.waiting = this.#stored();
    this.sending = null;
    this.pause = 1000;
    this.timer = 0;
    addEventListener("online", () => this.flush());
  }

  #stored() {
    const events = [];
    try {
      for (let i = 0; i < localStorage.length; i++) {
        const name = localStorage.key(i);
        if (!name.startsWith(PREFIX)) continue;
        try {
          events.push(JSON.parse(localStorage.getItem(name)));
        } catch {
          localStorage.removeItem(name);
        }
      }
    } catch {
      // storage is switched off: memory has to do
    }
    return events.filter((event) => event?.event_id).sort((a, b) => (a.at < b.at ? -1 : 1));
  }

  add(event) {
    this.waiting.push(event);
    try {
      localStorage.setItem(PREFIX + event.event_id, JSON.stringify(event));
    } catch {
      // full or switched off: memory has to do
    }
    this.changed(this.waiting.length);
  }

  #drop(batch) {
    const gone = new Set(batch.map((event) => event.event_id));
    this.waiting = this.waiting.filter((event) => !gone.has(event.event_id));
    for (const id of gone) {
      try {
        localStorage.removeItem(PREFIX + id);
      } catch {
        // as above
      }
    }
    this.changed(this.waiting.length);
  }

  /** Send what waits; true when nothing is left. Never rejects. */
  flush() {
    if (!this.waiting.length) return Promise.resolve(true);
    this.sending ??= this.#send();
    return this.sending;
  }

  async #send() {
    clearTimeout(this.timer);
    const done = await this.#empty();
    this.sending = null; // in the same step as the last look at what waits: nothing can slip between
    return done;
  }

  async #empty() {
    while (this.waiting.length) {
      const batch = this.waiting.slice(0, BATCH);
      try {
        const said = await call("POST", "/v1/events", { events: batch });
        this.#drop(batch);
        if (said.rejected?.length) this.refused(said.rejected);
      } catch (problem) {
        if (problem.status < 400 || problem.status >= 500 || [401, 403, 404, 408, 429].includes(problem.status)) {
          this.timer = setTimeout(() => this.flush(), this.pause);
          this.pause = Math.min(this.pause * 2, 30_000);
          return false;
        }
        this.#drop(batch); // the server read them and will never take them
        this.refused(problem.body?.rejected ?? [{ error: problem.message }]);
      }
    }
    this.pause = 1000;
    return true;
  }
}
