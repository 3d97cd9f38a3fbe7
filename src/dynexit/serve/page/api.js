// Requests to the server, events of a stream, and the key that the server may want.
const KEY = "dynexit-key";
let key = remembered();

export class KeyWanted extends Error {}

function remembered() {
  try { return sessionStorage.getItem(KEY) ?? ""; } catch { return ""; }
}

export function setKey(value) {
  key = value;
  try { sessionStorage.setItem(KEY, value); } catch { /* a browser that keeps nothing */ }
}

export async function ask(path, body, signal) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const options = { headers, signal };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body), headers: { ...headers, "content-type": "application/json" } });
  const reply = await reached(fetch(path, options));
  if (reply.status === 401) throw new KeyWanted(key ? "The server does not take this key." : "This server asks for a key.");
  if (!reply.ok) throw new Error(await refusal(reply));
  return reply;
}

export const askJson = async (path, body, signal) => reached((await ask(path, body, signal)).json());

// Yields what each event says; throws where the stream breaks off.
export async function* events(reply) {
  const reader = reply.body.getReader(), decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reached(reader.read());
    if (done) throw new Error("The connection ended before the text did: the server may have been stopped.");
    const parts = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.slice(6);
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(sentence(event.error.message));
      yield event;
    }
  }
}

async function reached(promise) {
  try { return await promise; } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached: is it still running?");
  }
}

async function refusal(reply) {
  try { return sentence((await reply.json()).error.message); } catch {
    return `The server answered ${reply.status} ${reply.statusText}`.trim() + ".";
  }
}

const sentence = message => message[0].toUpperCase() + message.slice(1);
