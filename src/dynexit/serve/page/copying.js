// A button that copies a text, also on a page without TLS, where browsers lend no clipboard.
import { make } from "./dom.js";

const SHOWN = 1500;  // milliseconds

export function copyButton(text, label = "Copy") {
  const button = make("button", "small", label);
  button.type = "button";
  button.addEventListener("click", async () => {
    button.textContent = await copied(text()) ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = label; }, SHOWN);
  });
  return button;
}

async function copied(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { return copiedByHand(text); }
}

function copiedByHand(text) {
  const field = make("textarea", "away");
  field.value = text;
  document.body.append(field); field.select();
  try { return document.execCommand("copy"); } finally { field.remove(); }
}
