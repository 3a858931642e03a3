// The page: a list of containers, and one container's walls, charts, logs, terminal and record.

import { ask, documents, figures, json, output, rates, size, socket } from "./engine.js";
import { Chart } from "./chart.js";
import { Terminal } from "./terminal.js";

const $ = (id) => document.getElementById(id);
const NAMES = { process: "process", hyperv: "own kernel" };
/** Characters of a log that are kept in the page. */
const LOG = 400_000;

/** An element with attributes and children; text is only ever text. */
function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function trouble(error) {
  $("trouble").hidden = !error;
  $("trouble").textContent = error ? error.message : "";
}

/** What the page does now; ended when it shows something else. */
let view = new AbortController();

/** Does it, and tells what went wrong, unless the page has moved on. */
async function attempt(work, { signal } = view) {
  try {
    await work(signal);
  } catch (error) {
    if (!signal.aborted) trouble(error);
  }
}

const pause = (milliseconds, signal) =>
  new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()));
  });

const wall = (isolation) =>
  make("span", { class: `wall ${isolation}` }, NAMES[isolation] ?? (isolation || "process"));

async function engine() {
  const info = await json("/info");
  $("engine").textContent =
    `${info.ServerVersion} on ${info.Name}, Linux ${info.KernelVersion}; ` +
    `containers: ${info.ContainersRunning} of ${info.Containers} running; images: ${info.Images}; ` +
    `walls: ${info.Isolation || "process"} by default`;
  $("engine").title = (info.Warnings ?? []).join("\n");
}

// ---- the list

function row(container, use) {
  const name = container.Names[0]?.slice(1) ?? container.Id.slice(0, 12);
  const failed = container.State === "exited" && !container.Status.startsWith("Exited (0)");
  return make(
    "tr",
    {},
    make("td", {}, make("a", { href: `#c/${container.Id}/walls` }, name)),
    make("td", {}, wall(container.Hull.Isolation)),
    make("td", { class: failed ? "failed" : container.State }, container.Status || container.State),
    make("td", { class: "number" }, use ? `${use.cpu.toFixed(1)} %` : ""),
    make("td", { class: "number" }, use ? size(use.memory) : ""),
    make("td", { class: "wide" }, container.Image),
    make("td", { class: "wide" }, ports(container.Ports)),
  );
}

function ports(all) {
  const shown = all.map((port) => (port.PublicPort ? `${port.IP}:${port.PublicPort}→` : "") + `${port.PrivatePort}/${port.Type}`);
  return [...new Set(shown)].join(", ");
}

async function list(signal) {
  const heads = ["Name", "Wall", "State", "CPU", "Memory", "Image", "Ports"];
  const classes = ["", "", "", "number", "number", "wide", "wide"];
  const body = make("tbody");
  const head = make("tr", {}, ...heads.map((text, at) => make("th", { class: classes[at], scope: "col" }, text)));
  const before = new Map();
  while (!signal.aborted) {
    const containers = await json("/containers/json?all=1", { signal });
    const used = await Promise.all(containers.map((container) => usage(container, before, signal)));
    body.replaceChildren(...containers.map((container, at) => row(container, used[at])));
    if (!body.isConnected) {
      $("main").replaceChildren(make("h1", {}, "Containers"), make("table", {}, make("thead", {}, head), body));
    }
    if (!containers.length) {
      const hint = "None yet. Try: docker run -d --isolation=hyperv IMAGE COMMAND";
      body.replaceChildren(make("tr", {}, make("td", { colspan: heads.length, class: "quiet" }, hint)));
    }
    await attempt(engine);
    await pause(2000, signal);
  }
}

/** What a running container uses, since the last look. */
async function usage(container, before, signal) {
  if (container.State !== "running") return null;
  try {
    const now = figures(await json(`/containers/${container.Id}/stats?stream=false&one-shot=true`, { signal }));
    const last = before.get(container.Id);
    before.set(container.Id, now);
    return last ? rates(last, now) : { cpu: 0, memory: now.memory };
  } catch {
    // It ended meanwhile; the next look tells.
    return null;
  }
}

// ---- one container

const TABS = { walls, charts, logs, terminal, record };
const TITLES = { walls: "Walls", charts: "Charts", logs: "Logs", terminal: "Terminal", record: "Record" };

async function container(id, tab, signal) {
  const found = await json(`/containers/${id}/json`, { signal });
  const name = found.Name.slice(1);
  document.title = `${name} · Hull`;
  const state = make("span", { class: found.State.Status }, found.State.Status);
  const tabs = Object.keys(TABS).map((key) =>
    make("button", { role: "tab", "aria-selected": String(key === tab), onclick: () => (location.hash = `c/${id}/${key}`) }, TITLES[key]),
  );
  const panel = make("section", { role: "tabpanel" });
  const title = make("h1", {}, `${name} `, wall(found.HostConfig.Isolation), " ", state);
  const command = make("p", { class: "quiet" }, [found.Config.Image, found.Path, ...found.Args].join(" "));
  $("main").replaceChildren(title, command, actions(found), make("nav", { role: "tablist" }, ...tabs), panel);
  await TABS[tab](found, panel, signal);
}

function actions(found) {
  const { Running: running, Paused: paused } = found.State;
  const act = (text, method, path, allowed, question) =>
    make(
      "button",
      {
        disabled: !allowed,
        onclick: () =>
          attempt(async () => {
            if (question && !confirm(question)) return;
            trouble(null);
            await ask(method, `/containers/${found.Id}${path}`);
            if (method === "DELETE") location.hash = "";
            else show();
          }),
      },
      text,
    );
  const name = found.Name.slice(1);
  return make(
    "div",
    { class: "actions" },
    act("Start", "POST", "/start", !running),
    act("Stop", "POST", "/stop", running),
    act("Restart", "POST", "/restart", running && !paused),
    act("Pause", "POST", "/pause", running && !paused),
    act("Resume", "POST", "/unpause", paused),
    act("Kill", "POST", "/kill", running, `End ${name} at once?`),
    act("Remove", "DELETE", "?force=1", true, `Remove ${name} and what it wrote?`),
  );
}

/** A record as names and values, nested ones beneath. */
function facts(record) {
  const shown = make("dl");
  for (const [key, value] of Object.entries(record)) {
    if (value === null || value === "" || (Array.isArray(value) && !value.length)) continue;
    const name = key.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/_/g, " ");
    shown.append(make("dt", {}, name), make("dd", {}, detail(value)));
  }
  return shown;
}

function detail(value) {
  if (value === true) return "yes";
  if (value === false) return "no";
  if (Array.isArray(value)) {
    return value.every((one) => typeof one !== "object") ? value.join(", ") : make("div", {}, ...value.map(detail));
  }
  return typeof value === "object" ? facts(value) : String(value);
}

async function walls(found, panel) {
  const { Isolation: isolation, ...rest } = found.Hull ?? {};
  panel.append(make("h2", {}, "What holds it"));
  panel.append(isolation ? facts(isolation) : make("p", { class: "quiet" }, "It does not run: there is nothing to hold."));
  panel.append(make("h2", {}, "What was let through"));
  const pierced = Object.entries(rest).filter(([, value]) => value && Object.keys(value).length);
  const none = make("p", { class: "quiet" }, "Nothing.");
  panel.append(pierced.length ? facts(Object.fromEntries(pierced)) : none);
}

async function charts(found, panel, signal) {
  if (!found.State.Running) return panel.append(make("p", { class: "quiet" }, "It does not run."));
  const percent = (value) => `${value.toFixed(1)} %`;
  const speed = (value) => `${size(value)}/s`;
  const all = [
    [new Chart("Processor", ["use"], percent), ["cpu"]],
    [new Chart("Memory", ["use"], size), ["memory"]],
    [new Chart("Network", ["in", "out"], speed), ["received", "sent"]],
    [new Chart("Disk", ["read", "written"], speed), ["read", "written"]],
  ];
  panel.append(make("div", { class: "charts" }, ...all.map(([chart]) => chart.element)));
  let last = null;
  for await (const sample of documents(`/containers/${found.Id}/stats?stream=true`, signal)) {
    const now = figures(sample);
    if (last) {
      const changed = rates(last, now);
      for (const [chart, fields] of all) chart.add(...fields.map((field) => changed[field]));
    }
    last = now;
  }
}

async function logs(found, panel, signal) {
  const shown = make("pre", { class: "logs", tabindex: "0" });
  panel.append(shown);
  const path = `/containers/${found.Id}/logs?stdout=1&stderr=1&follow=1&tail=1000`;
  let length = 0;
  for await (const [isError, text] of output(path, !found.Config.Tty, signal)) {
    const follows = shown.scrollTop + shown.clientHeight >= shown.scrollHeight - 30;
    shown.append(make("span", { class: isError ? "err" : "" }, text));
    length += text.length;
    while (length > LOG && shown.childNodes.length > 1) {
      length -= shown.firstChild.textContent.length;
      shown.firstChild.remove();
    }
    if (follows) shown.scrollTop = shown.scrollHeight;
  }
  if (!length) shown.append(make("span", { class: "quiet" }, "It has written nothing."));
}

async function terminal(found, panel, signal) {
  if (!found.State.Running) return panel.append(make("p", { class: "quiet" }, "It does not run."));
  const body = {
    AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: true,
    Env: ["TERM=xterm-256color"],
    Cmd: ["/bin/sh", "-c", "if command -v bash >/dev/null; then exec bash; fi; exec sh"],
  };
  const { Id: exec } = await (await ask("POST", `/containers/${found.Id}/exec`, { body, signal })).json();
  const line = socket(`/exec/${exec}/ws`);
  const encoder = new TextEncoder();
  const send = (text) => line.readyState === WebSocket.OPEN && line.send(encoder.encode(text));
  let wanted = null;
  const resize = async (rows, columns) => {
    wanted = [rows, columns];
    // Before it has begun there is nothing to resize.
    if (line.readyState === WebSocket.OPEN) await ask("POST", `/exec/${exec}/resize?h=${rows}&w=${columns}`).catch(() => {});
  };
  const screen = new Terminal(send, resize);
  panel.append(screen.element);
  screen.element.focus();
  signal.addEventListener("abort", () => (screen.close(), line.close()));
  let begun = false;
  line.addEventListener("message", (event) => {
    screen.write(new Uint8Array(event.data));
    if (!begun && wanted) resize(...wanted);
    begun = true;
  });
  line.addEventListener("close", () => !signal.aborted && screen.write(encoder.encode("\r\n[the shell has ended]\r\n")));
}

async function record(found, panel) {
  panel.append(make("pre", {}, JSON.stringify(found, null, 2)));
}

// ---- which of them

function show() {
  view.abort();
  view = new AbortController();
  trouble(null);
  document.title = "Hull";
  const [kind, id, tab] = location.hash.slice(1).split("/");
  if (kind === "c" && id) {
    attempt((signal) => container(id, tab in TABS ? tab : "walls", signal));
    attempt(engine);
  } else {
    attempt(list);
  }
}

addEventListener("hashchange", show);
show();
