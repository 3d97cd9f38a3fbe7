// One text while it is written: its tokens, its rounds, and how far it was when.
import { ask, events } from "./api.js";
import { at, counted, make } from "./dom.js";
import { shownSpeed } from "./speed.js";

export class Lane {
  constructor(name, asked) {
    this.name = name; this.asked = asked; this.limit = asked.max_tokens; this.method = asked.dynexit.method;
    this.box = at(name); this.ids = []; this.prompt = []; this.rounds = []; this.spans = []; this.times = [];
    this.box.replaceChildren(make("span", "prompt", asked.prompt));
  }

  async run(signal, onRound) {
    const body = { ...this.asked, stream: true, dynexit: { method: this.method, trace: true } };
    for await (const event of events(await ask("v1/completions", body, signal))) {
      if (event.dynexit?.tokens) { this.take(event.dynexit); onRound(this); }
      else if (event.dynexit) this.counts = event.dynexit;
    }
    this.bar(1);
    this.tell(this.counts.tokens_per_second, " in this run");
  }

  take(round) {
    if (round.prompt_ids) { this.prompt = round.prompt_ids; this.first = round.at; }
    this.rounds.push(round);
    for (const token of round.tokens) this.write(token, round);
    if (round.rejected.length && this.name === "own") this.strike(round.rejected);
    const seconds = round.at - this.first;
    this.times.push([seconds, this.ids.length]);
    this.bar(this.ids.length / this.limit);
    this.say(seconds > 0 ? `${((this.ids.length - 1) / seconds).toFixed(0)} tokens/s` : "");
  }

  write(token, round) {
    if (token.text) {
      const span = make("span", `token ${token.source}`, token.text);
      if (/^[ \t]*\n/.test(token.text)) span.classList.add("breaks");
      Object.assign(span, { index: this.ids.length, round, token });
      this.box.append(span); this.spans.push(span);
    }
    if (token.id >= 0) this.ids.push(token.id);
  }

  strike(rejected) {
    const ghost = make("span", "rejected", rejected.map(t => t.text).join(""));
    ghost.setAttribute("aria-hidden", "true");
    ghost.addEventListener("animationend", () => ghost.remove());
    this.box.append(ghost);
  }

  tell(speed, of = "") { this.say(speed ? `${shownSpeed(speed)} tokens/s${of}` : ""); }

  say(speed) {
    at(`${this.name}-counts`).textContent = [counted(this.ids.length, "token"), speed].filter(Boolean).join(" · ");
  }

  bar(share) { at(`${this.name}-bar`).style.width = `${100 * Math.min(share, 1)}%`; }

  replayed(seconds) {  // how far this lane was, so many seconds after its first token
    let reached = 0;
    for (const [time, count] of this.times) if (time <= seconds) reached = count;
    this.bar(reached >= this.ids.length ? 1 : reached / this.limit);
  }

  writesAs(other) {
    return this.ids.length === other.ids.length && this.ids.every((id, i) => id === other.ids[i]);
  }
}

export function empty(name) {
  at(name).replaceChildren();
  at(`${name}-counts`).textContent = "";
  at(`${name}-bar`).style.width = 0;
}
