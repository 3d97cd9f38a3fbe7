// How answers are written, as the drawer says now.
import { at } from "./dom.js";
import { PLAIN } from "./race.js";

const FIELDS = { count: "a whole number from 1 to 4096", temperature: "a number from 0 to 2", seed: "a whole number from 0 on" };
const TOKENS = { chat: 512, text: 96 };

export function offer(card) {  // what the model can do
  const names = [card.method, ...card.methods.filter(name => name !== PLAIN), PLAIN];
  at("method").replaceChildren(...[...new Set(names)].map(name => new Option(name, name)));
  at("count").value = card.chat ? TOKENS.chat : TOKENS.text;
  at("racing").checked = !card.chat;
  at("system-field").hidden = !card.chat;
}

export function chosen() {
  for (const [id, words] of Object.entries(FIELDS)) {
    if (!at(id).validity.valid) throw new Error(`${at(id).labels[0].textContent} must be ${words}.`);
  }
  return {
    max_tokens: Number(at("count").value), temperature: Number(at("temperature").value),
    seed: Number(at("seed").value), dynexit: { method: at("method").value },
  };
}

export const system = () => at("system").value.trim();

at("open-settings").addEventListener("click", () => at("settings").showModal());
at("settings").addEventListener("click", event => { if (event.target === at("settings")) at("settings").close(); });  // beside it
at("settings").addEventListener("close", () => at("prompt").focus());
at("colours").addEventListener("change", () => document.body.classList.toggle("colourless", !at("colours").checked));
