// The radio: what plays, what waits, what was heard; every press becomes an event first and a new queue second.

import { randomId } from "./dom.js";
import { call, Outbox } from "./net.js";
import { Deck } from "./deck.js";

const SAVED = "segue.radio";
const QUEUE = 10;
const REST_MS = 30 * 60_000; // a session that slept this long is over
const REMEMBER = 100;
const ALONE = 5; // songs that may end by themselves before the radio asks whether anybody is there
const ALONE_MS = 30 * 60_000; // songs with sound may go on for so long: somebody may be listening

const tenths = (seconds) => Math.round(seconds * 10) / 10;

/** Emits now, queue, past, busy, trouble, outbox, notice, listener, station. State is read from the fields. */
export class Radio extends EventTarget {
  constructor() {
    super();
    this.deck = new Deck();
    this.outbox = new Outbox({
      changed: (n) => this.#say("outbox", n),
      refused: (rows) => this.#say("notice", `The server refused ${rows.length === 1 ? "an event" : `${rows.length} events`}: ${rows[0].error}`),
    });
    this.facts = new Map();
    this.ticket = 0;
    this.alone = 0;
    this.touched = Date.now();
    this.patience = 2000; // ms before an absent server is asked again
    this.aborter = null;
    this.deck.addEventListener("ended", () => this.#ranOut());
    this.#fresh(null);
    this.#restore();
    addEventListener("pagehide", () => this.#save());
  }

  #fresh(listener) {
    Object.assign(this, { listener, session: randomId(8), station: null, discovery: null, now: null, queue: [], past: [], slate: null, added: new Set(), shown: new Set() });
  }

  #restore() {
    try {
      const kept = JSON.parse(localStorage.getItem(SAVED));
      if (!kept?.listener) return;
      this.#fresh(kept.listener);
      this.discovery = kept.discovery ?? null;
      if (Date.now() - kept.at > REST_MS) return;
      Object.assign(this, { session: kept.session, station: kept.station, past: kept.past ?? [], now: kept.now, resume: kept.position });
    } catch {
      // nothing kept, or not by this version
    }
  }

  #save() {
    const { listener, session, station, discovery, now } = this;
    try {
      localStorage.setItem(SAVED, JSON.stringify({ listener, session, station, discovery, now, past: this.past.slice(0, REMEMBER), position: this.deck.position, at: Date.now() }));
    } catch {
      // storage is switched off: a reload starts over
    }
  }

  /** Go on where the last visit stopped; false when nobody has been chosen yet. */
  async open() {
    if (!this.listener) return false;
    this.#say("listener");
    this.#say("station");
    this.#say("past");
    if (this.now) await this.#load(this.now, this.resume ?? 0);
    await this.refresh();
    return true;
  }

  /** Become another listener: {id, region?, ...}. A new session begins. */
  async become(listener) {
    this.#leave();
    this.#fresh(listener);
    this.deck.pause();
    this.#say("listener");
    this.#say("station");
    this.#say("past");
    this.#say("now");
    this.#say("queue");
    this.#save();
    this.deck.playing = true;
    await this.refresh();
  }

  /** Start from {kind: items | artists | tags, value, label, song?}: the song itself, or the first that the station finds.

   What plays is left without a verdict: it was not skipped for its own sake. null goes back to the listener's own radio,
   after the song that plays.
   */
  async tune(station) {
    this.#here();
    this.station = station;
    this.#say("station");
    if (station?.song) {
      const { id, title, artist } = station.song;
      this.#leave();
      this.#event("clicked", station.song);
      this.#next({ id, title, artist });
    }
    this.#save();
    const before = this.slate;
    await this.refresh();
    if (!station || station.song || this.station !== station || this.slate === before || !this.queue.length) return;
    this.#leave();
    this.#next();
    await this.refresh();
  }

  /** 0 to 1, or null to let the server learn it. */
  async dial(share) {
    this.discovery = share;
    this.#save();
    await this.refresh();
  }

  /** A song ended by itself. After some of them in a row nobody may be listening: better silence than invented plays. */
  async #ranOut() {
    const { touched } = this, alone = this.alone + 1;
    const deserted = alone >= ALONE && (!this.deck.sounding || Date.now() - touched > ALONE_MS);
    const ended = this.end("completed");
    Object.assign(this, { alone, touched });
    if (deserted) {
      this.deck.pause();
      this.#say("notice", "Still there? Press play to go on.");
    }
    await ended;
  }

  /** The song is over: completed, skipped or hidden. The next one starts at once, the queue follows. */
  async end(how) {
    this.#here();
    const song = this.now;
    if (!song) return;
    const heard = how === "completed" ? this.deck.length : this.deck.position;
    if (how === "hidden") {
      this.#event("hidden", song);
      song.liked = false; // the last word counts
    }
    this.#event(how === "completed" ? "completed" : "skipped", song, heard);
    this.past.unshift({ ...song, how, share: Math.min(1, heard / this.deck.length), heard, at: Date.now() });
    this.past.length = Math.min(this.past.length, REMEMBER);
    this.#say("past");
    this.#next();
    await this.refresh();
  }

  /** Leave what plays for a song of the queue or any other. */
  async jump(song) {
    this.#here();
    if (this.now) {
      const heard = this.deck.position;
      this.#event("skipped", this.now, heard);
      this.past.unshift({ ...this.now, how: "skipped", share: heard / this.deck.length, heard, at: Date.now() });
      this.#say("past");
    }
    this.#event("clicked", song);
    this.queue = this.queue.filter((other) => other.id !== song.id);
    this.#next(song);
    await this.refresh();
  }

  /** A like of what plays; the song goes on. */
  async like() {
    if (!this.now || this.now.liked) return;
    this.now.liked = true;
    this.#event("liked", this.now);
    this.#say("now");
    this.#save();
    await this.refresh();
  }

  /** Songs of the queue were on the screen: told once a session each, so that the server knows what was passed over. */
  seen(ids) {
    const songs = this.queue.filter((song) => ids.includes(song.id) && !this.shown.has(song.id));
    for (const song of songs) {
      this.shown.add(song.id);
      this.#event("shown", song);
    }
    this.outbox.flush();
  }

  toggle() {
    this.#here();
    if (!this.now) return;
    if (this.deck.playing) this.deck.pause();
    else this.deck.play();
    this.#say("playing");
  }

  /** Deliver what waits, then ask for a new queue; only the newest answer counts. Never rejects. */
  async refresh() {
    if (!this.listener) return;
    const ticket = ++this.ticket;
    clearTimeout(this.again);
    this.aborter?.abort();
    this.aborter = new AbortController();
    this.#say("busy", true);
    try {
      await this.outbox.flush();
      if (ticket !== this.ticket) return;
      this.#take(await call("POST", "/v1/recommendations", this.#question(), this.aborter.signal));
      this.patience = 2000;
      this.#say("trouble", null);
    } catch (problem) {
      if (problem.name === "AbortError" || ticket !== this.ticket) return;
      this.#say("trouble", problem);
      if (problem.offline || problem.status >= 500) this.again = setTimeout(() => this.refresh(), this.patience);
      this.patience = Math.min(this.patience * 2, 60_000);
    } finally {
      if (ticket === this.ticket) this.#say("busy", false);
    }
  }

  #question() {
    const exclude = [...(this.now ? [this.now.id] : []), ...this.past.slice(0, 20).map((song) => song.id)];
    const context = this.listener.region ? { region: this.listener.region } : {};
    const body = { user: this.listener.id, surface: "radio", limit: QUEUE, session: this.session, exclude, context };
    if (this.station) body.seeds = { [this.station.kind]: [this.station.value] };
    if (this.discovery !== null) body.discovery = this.discovery;
    return body;
  }

  #take(slate) {
    const before = new Set(this.queue.map((song) => song.id));
    this.slate = slate;
    this.queue = slate.items.map((item, position) => ({ ...item, request_id: slate.request_id, position }));
    this.added = new Set(before.size ? this.queue.filter((song) => !before.has(song.id)).map((song) => song.id) : []);
    if (!this.now && this.queue.length) this.#next();
    else this.#say("queue");
    for (const song of this.queue.slice(0, 2)) this.about(song.id);
  }

  #next(chosen) {
    this.now = chosen ?? this.queue.shift() ?? null;
    this.added = new Set();
    this.#say("queue");
    if (this.now) {
      this.#event("started", this.now);
      this.outbox.flush();
      this.#load(this.now);
    } else {
      this.deck.load(0);
      this.#say("now");
    }
    this.#save();
  }

  async #load(song, position = 0) {
    const known = this.facts.get(song.id);
    this.deck.load(known?.duration_s ?? song.duration_s, position, this.#sound(known));
    this.deck.play();
    this.#say("now");
    const facts = await this.about(song.id);
    if (this.now !== song || !facts || facts === known) return;
    this.deck.learn(facts.duration_s, this.#sound(facts));
    this.#say("now");
  }

  /** Somebody pressed something. */
  #here() {
    this.alone = 0;
    this.touched = Date.now();
  }

  #sound(facts) {
    const url = facts?.extra?.audio_url;
    return typeof url === "string" && url.startsWith("/") ? url : null;
  }

  /** What the catalogue knows of a song (album, length, tags), or null; asked for once. */
  async about(id) {
    if (!this.facts.has(id)) {
      try {
        this.facts.set(id, await call("GET", `/v1/items/${encodeURIComponent(id)}`));
      } catch {
        return null; // a song without facts plays as well
      }
    }
    return this.facts.get(id);
  }

  /** The song stops without having been judged: how far it got is told, as progress. */
  #leave() {
    if (!this.now) return;
    const heard = this.deck.position;
    this.#event("progress", this.now, heard);
    this.past.unshift({ ...this.now, how: "left", share: heard / this.deck.length, heard, at: Date.now() });
    this.#say("past");
  }

  #event(action, song, heard) {
    const event = { event_id: randomId(), user: this.listener.id, item: song.id, action, at: new Date().toISOString(), session: this.session };
    if (song.request_id) Object.assign(event, { request_id: song.request_id, position: song.position });
    const length = this.deck.sounding ? this.deck.length : this.facts.get(song.id)?.duration_s;
    if (heard !== undefined && length) Object.assign(event, { played_s: tenths(Math.min(heard, length)), duration_s: tenths(length) });
    if (this.listener.region) event.context = { region: this.listener.region };
    this.outbox.add(event);
  }

  #say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
