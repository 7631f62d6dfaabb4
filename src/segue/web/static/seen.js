// Which lines of a list were really looked at: half of a line on the screen for a whole second, as advertising counts it (MRC viewability).

const WHOLE_MS = 1000;

/** told(ids) is called with the lines of one look together, at most once a line; `watch(nodes)` again whenever the list is replaced. */
export class Seen {
  constructor(told) {
    this.told = told;
    this.since = new Map(); // line -> when it came into view
    this.timer = 0;
    this.observer = new IntersectionObserver((entries) => this.#moved(entries), { threshold: 0.5 });
    document.addEventListener("visibilitychange", () => this.#again());
  }

  watch(nodes) {
    this.nodes = [...nodes];
    this.#again();
  }

  /** Every look begins anew, and none while the page is in the background. */
  #again() {
    clearTimeout(this.timer);
    this.observer.disconnect();
    this.since.clear();
    if (!document.hidden) for (const node of this.nodes ?? []) this.observer.observe(node);
  }

  #moved(entries) {
    for (const { target, isIntersecting, time } of entries) {
      if (!isIntersecting) this.since.delete(target);
      else if (!this.since.has(target)) this.since.set(target, time);
    }
    this.#plan();
  }

  #plan() {
    clearTimeout(this.timer);
    if (this.since.size) this.timer = setTimeout(() => this.#look(), Math.max(0, Math.min(...this.since.values()) + WHOLE_MS - performance.now()));
  }

  #look() {
    const before = performance.now() - WHOLE_MS;
    const done = [...this.since].filter(([, since]) => since <= before).map(([node]) => node);
    for (const node of done) {
      this.since.delete(node);
      this.observer.unobserve(node);
    }
    if (done.length) this.told(done.map((node) => node.dataset.id));
    this.#plan();
  }
}
