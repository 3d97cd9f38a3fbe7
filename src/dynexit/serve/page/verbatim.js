// Tokens as they are, one after the other. A view shows what it is given: `add`, `strike`, `end`.
import { make } from "./dom.js";

export class Verbatim {
  constructor(box, striking = false) { Object.assign(this, { box, striking, known: [], source: "" }); }

  add(known) {
    const { text, source } = known.token, span = make("span", `token ${source}`, text);
    if (/^[ \t]*\n/.test(text)) span.classList.add("breaks");
    span.known = known;
    this.box.append(span); this.known.push(known); this.source += text;
  }

  strike(rejected) {
    if (!this.striking) return;
    const ghost = make("span", "rejected", rejected.map(t => t.text).join(""));
    ghost.setAttribute("aria-hidden", "true");
    ghost.addEventListener("animationend", () => ghost.remove());
    this.box.append(ghost);
  }

  end() {}
}
