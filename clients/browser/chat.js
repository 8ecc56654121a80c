// The chat page: who is here, what is said.

import { append, element, find, follow, recall, remember } from "./page.js";
import { PushClient } from "./push-channels.js";

const SHOWN = 500;
const SOON = 40; // ms to collect lines for: the browser lays the page out again for each change
const CLOCK = new Intl.DateTimeFormat([], { timeStyle: "short" });

const ROOM = "chat";

let client = null;
let here = new Set(); // names
let hasMoved = false; // somebody came or left while we were asking who is here
let last = null; // the position of the last line shown
let held = null; // lines that arrived while earlier ones are being fetched

let waiting = []; // lines to show soon

function show(line) {
  if (waiting.push(line) === 1) {
    setTimeout(() => {
      const lines = new DocumentFragment();
      lines.append(...waiting.splice(0));
      append(find("log"), lines, SHOWN);
    }, SOON);
  }
}

function note(...parts) {
  show(element("li", { class: "note" }, ...parts));
}

function said({ data: line, offset, epoch }) {
  const own = line.name === client.Id;
  const time = CLOCK.format(line.time * 1000);
  last = { offset, epoch };
  show(element("li", own ? { class: "own" } : {},
    element("bdi", { class: "who" }, line.name), " ",
    element("time", { class: "note" }, own ? `you, ${time}` : time),
    element("span", { class: "what", dir: "auto" }, line.text)));
}

function showHere() {
  const names = [...here].flatMap((name) => [", ", element("bdi", {}, name)]).slice(1);
  find("here").replaceChildren(...(names.length ? names : ["\u2013"]));
}

/** Show the remembered lines that are not shown yet, then those that arrived meanwhile. */
function caughtUp({ publications, epoch }) {
  if (last && last.epoch !== epoch) {
    note("The server has restarted.");
    last = null;
  }
  const before = (publications[0]?.offset ?? 1) - 1;
  if (last && before > last.offset) {
    note(`${before - last.offset} lines are missing here.`);
  }
  const lines = [...publications.map((line) => ({ ...line, epoch })), ...held];
  held = null;
  lines.filter(({ offset }) => offset > (last?.offset ?? 0)).forEach(said);
}

/** Ask who is here, and repeat while people come or leave during the request. */
async function askWhoIsHere(asked) {
  let found;
  do {
    hasMoved = false;
    found = Object.values(await asked.presence(ROOM));
  } while (hasMoved);
  here = new Set(found.map(({ user }) => user));
  showHere();
}

/** Be in the room. Missed lines arrive by themselves, unless they could not be recovered. */
function entered({ recovered }) {
  askWhoIsHere(client).catch(() => {}); // disconnected again: the next connection will ask
  if (!recovered || held) {
    held = [];
    client.history(ROOM).then(caughtUp, () => {});
  }
}

function moved({ type, info: { user } }) {
  hasMoved = true;
  const hasJoined = type === "join";
  if (user !== client.Id && here.has(user) !== hasJoined) {
    note(element("bdi", {}, user), hasJoined ? " joined" : " left");
  }
  hasJoined ? here.add(user) : here.delete(user);
  showHere();
}

function changed() {
  const closed = client.state === "closed";
  find("toggle").textContent = closed ? "Join" : "Leave";
  find("name").disabled = !closed;
  find("send").disabled = client.state !== "open";
  if (client.state !== "open") {
    here.clear();
    showHere();
  }
}

function enter() {
  const name = find("name").value;
  remember("name", name);
  history.replaceState(null, "", `?${new URLSearchParams({ name })}`);
  held = null;
  client = new PushClient("/chat/socket", { Id: name, channels: { [ROOM]: last } });
  client.addEventListener("subscribed", entered);
  client.addEventListener("publication", (event) => (held ? held.push(event) : said(event)));
  client.addEventListener("join", moved);
  client.addEventListener("leave", moved);
  client.addEventListener("state", changed);
  follow(client);
  changed();
  find("text").focus();
}

find("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  if (client && client.state !== "closed") {
    client.close();
  } else {
    enter();
  }
});

find("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = find("text");
  const text = field.value;
  if (client?.state !== "open") {
    find("error").textContent = "Not sent: you are not connected.";
    return;
  }
  find("error").textContent = "";
  field.value = "";
  field.focus();
  client.rpc("say", { text }).catch((error) => {
    find("error").textContent = error.reason ? `Not sent: ${error.reason}`
      : `Possibly not sent: ${error.message}.`;
    field.value ||= text;
  });
});

find("silent").addEventListener("change", () =>
  find("log").classList.toggle("quiet", find("silent").checked));

find("send").disabled = true;
find("name").value = recall("name");
if (find("name").value) {
  enter();
} else {
  find("name").focus();
}
