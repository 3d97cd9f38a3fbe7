// Markdown as elements that can do no harm: no HTML of the model's, no image, no script, links to the web alone.
import { Marked } from "./vendor/marked.js";
import purify from "./vendor/purify.js";
import { escaped } from "./dom.js";

const ALLOWED = {
  ALLOWED_TAGS: ["a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"],
  ALLOWED_ATTR: ["align", "href", "start", "title"], ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i, RETURN_DOM_FRAGMENT: true,
};
const renderer = {
  html: ({ text }) => escaped(text),
  image: ({ raw }) => escaped(raw),
  checkbox: ({ checked }) => checked ? "[x] " : "[ ] ",
};
const marked = new Marked({ gfm: true, renderer });

// The blocks of a text, each with the `raw` characters that it is made of.
export const blocksOf = text => marked.lexer(text);

export function elementsOf(block) {
  const made = purify.sanitize(marked.parser([block]), ALLOWED);
  for (const link of made.querySelectorAll("a")) { link.target = "_blank"; link.rel = "noopener noreferrer nofollow"; }
  return made;
}

// Where a block's first visible character may stand: past the line that opens a fence.
export const beginning = ({ type, raw }) => type === "code" && /^ {0,3}(```|~~~)/.test(raw) ? raw.indexOf("\n") + 1 : 0;
