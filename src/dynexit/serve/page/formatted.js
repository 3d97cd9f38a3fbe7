// Tokens as Markdown, each in its colour still. Blocks that no later token can change are made once; the last is made anew.
import { copyButton } from "./copying.js";
import { make } from "./dom.js";
import { beginning, blocksOf, elementsOf } from "./markdown.js";

const SECONDS = 0.08, SHARE = 4;  // between two drawings, at least: so long, and so many times what one takes

export class Formatted {
  constructor(box, drawn = () => {}) {
    Object.assign(this, { box, drawn, known: [], source: "", owners: [], done: 0, timer: 0, took: 0 });
    this.last = make("div", "open");
    box.append(this.last);
  }

  add(known) {
    const text = known.token.text.replaceAll("\r", "");
    this.known.push(known); this.source += text;
    for (let i = 0; i < text.length; i++) this.owners.push(known);
    this.timer ||= setTimeout(() => this.draw(), Math.max(1000 * SECONDS, SHARE * this.took));
  }

  strike() {}  // the next drawing would take it away

  end() { clearTimeout(this.timer); this.draw(); }

  draw() {
    const began = performance.now(), blocks = blocksOf(this.source.slice(this.done));
    const open = blocks.findLastIndex(block => block.type !== "space");
    this.timer = 0;
    blocks.forEach((block, index) => {
      if (index < open) { this.last.before(this.make(block, this.done)); this.done += block.raw.length; }
    });
    this.last.replaceChildren(...(open < 0 ? [] : [this.make(blocks[open], this.done)]));
    this.took = performance.now() - began;
    this.drawn();
  }

  make(block, start) {
    const made = elementsOf(block);
    colour(made, block.raw, beginning(block), this.owners.slice(start, start + block.raw.length));
    for (const code of made.querySelectorAll("pre")) {
      const frame = make("div", "code"), text = code.textContent;
      code.replaceWith(frame);
      frame.append(code, copyButton(() => text, "Copy code"));
    }
    return made;
  }
}

// Give every visible character the colour of the token that wrote it. Markdown keeps characters in order and only leaves some
// out, so each is the next one of its kind in the source.
function colour(made, raw, place, owners) {
  const walker = document.createTreeWalker(made, NodeFilter.SHOW_TEXT), nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  let owner = owners[place];
  for (const node of nodes) {
    const parts = [];
    for (const unit of node.data) {
      const blank = /\s/.test(unit), found = blank ? (/\s/.test(raw[place] ?? "") ? place : -1) : raw.indexOf(unit, place);
      if (found >= 0) { owner = owners[found]; place = found + unit.length; }
      if (parts.length && parts.at(-1).owner === owner) parts.at(-1).text += unit;
      else parts.push({ owner, text: unit });
    }
    node.replaceWith(...parts.map(({ owner, text }) => owner && text.trim() ? token(owner, text) : text));
  }
}

function token(known, text) {
  const span = make("span", `token ${known.token.source}`, text);
  span.known = known;
  return span;
}
