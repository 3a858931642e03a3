// The engine: requests with the token, streams, and how its answers are read.

const API = "/v1.51";

// The token came behind the `#` of the URL; it stays in this tab and leaves the address bar.
function token() {
  const given = /^#([0-9a-f]{64})/.exec(location.hash);
  if (given) {
    sessionStorage.setItem("token", given[1]);
    history.replaceState(null, "", "/" + location.hash.replace(given[1], "").replace(/^#\//, "#"));
  }
  return sessionStorage.getItem("token") ?? "";
}
const TOKEN = token();

/** Asks a page; gives the response, or throws what the engine says is wrong. */
export async function ask(method, path, { body, signal } = {}) {
  const headers = { Authorization: `Bearer ${TOKEN}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  const response = await fetch(API + path, { method, headers, body: text, signal });
  if (response.ok || response.status === 304) return response;
  const said = await response.text();
  let message = said;
  try {
    message = JSON.parse(said).message;
  } catch {
    // Not the engine's words but the dashboard's own.
  }
  throw new Error(message || `${method} ${path}: ${response.status}`);
}

/** Asks a page that answers with JSON. */
export async function json(path, options) {
  return (await ask("GET", path, options)).json();
}

/** The pieces of a page's answer while they come, as bytes. */
async function* pieces(path, signal) {
  const reader = (await ask("GET", path, { signal })).body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** JSON documents, a line each, while they come. */
export async function* documents(path, signal) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of pieces(path, signal)) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.trim()) yield JSON.parse(line);
  }
}

/** Pieces of a container's output: whether it is of standard error, and its text. */
export async function* output(path, framed, signal) {
  const decoders = { 1: new TextDecoder(), 2: new TextDecoder() };
  if (!framed) {
    for await (const piece of pieces(path, signal)) yield [false, decoders[1].decode(piece, { stream: true })];
    return;
  }
  let held = new Uint8Array();
  for await (const piece of pieces(path, signal)) {
    const all = new Uint8Array(held.length + piece.length);
    all.set(held);
    all.set(piece, held.length);
    held = all;
    // A frame is its stream, three zeros, the length of what follows, and that.
    while (held.length >= 8) {
      const length = new DataView(held.buffer, held.byteOffset).getUint32(4);
      if (held.length < 8 + length) break;
      const stream = held[0] === 2 ? 2 : 1;
      yield [stream === 2, decoders[stream].decode(held.subarray(8, 8 + length), { stream: true })];
      held = held.subarray(8 + length);
    }
  }
}

/** A websocket to a page. */
export function socket(path) {
  const ws = new WebSocket(`ws://${location.host}${API}${path}?token=${TOKEN}`);
  ws.binaryType = "arraybuffer";
  return ws;
}

/** What a sample of `stats` says, each figure since the engine began to count. */
export function figures(sample) {
  const memory = sample.memory_stats ?? {};
  const cached = memory.stats?.inactive_file ?? memory.stats?.total_inactive_file ?? 0;
  const disk = (operation) =>
    (sample.blkio_stats?.io_service_bytes_recursive ?? [])
      .filter((entry) => entry.op.toLowerCase() === operation)
      .reduce((sum, entry) => sum + entry.value, 0);
  const network = (field) =>
    Object.values(sample.networks ?? {}).reduce((sum, one) => sum + one[field], 0);
  return {
    at: Date.parse(sample.read) / 1000,
    cpu: sample.cpu_stats?.cpu_usage?.total_usage ?? 0,
    memory: Math.max(0, (memory.usage ?? 0) - cached),
    received: network("rx_bytes"),
    sent: network("tx_bytes"),
    read: disk("read"),
    written: disk("write"),
  };
}

/** What happened between two samples: shares of one processor in percent, bytes a second. */
export function rates(before, now) {
  const seconds = now.at - before.at;
  const rate = (field) => (seconds > 0 ? Math.max(0, now[field] - before[field]) / seconds : 0);
  return {
    cpu: rate("cpu") / 1e7,
    memory: now.memory,
    received: rate("received"),
    sent: rate("sent"),
    read: rate("read"),
    written: rate("written"),
  };
}

/** Bytes as people read them. */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${bytes.toFixed(unit && bytes < 100 ? 1 : 0)} ${units[unit]}`;
}
