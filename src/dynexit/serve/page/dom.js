// What every part of the page needs: elements by id, and new ones.
export const at = id => document.getElementById(id);

export function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

// A text as a name, in quotes.
export const quoted = text => `“${visible(text)}”`;

// Text on one line, its spaces and line ends to be seen.
export const visible = text => JSON.stringify(text).slice(1, -1).replaceAll(" ", "·");

export const escaped = text => text.replace(/[&<>"']/g, sign => `&#${sign.charCodeAt(0)};`);
