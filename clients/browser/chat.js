// The chat page: who is here, what is said.

import { append, element, find, follow, recall, remember } from "./page.js";
import { PushClient } from "./push-client.js";

const SHOWN = 500;
const SOON = 40; // ms in which lines are collected: a browser lays the page out for each change
const CLOCK = new Intl.DateTimeFormat([], { timeStyle: "short" });

let client = null;
let here = new Set();
let epoch = ""; // the life of the room that `last` counts in
let last = 0; // the number of the last line that is shown
let unnumbered = []; // what was sent without an echo, until its number comes

let waiting = []; // lines to be shown soon

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

function said(line) {
  const own = line.name === client.Id;
  const time = CLOCK.format(line.time * 1000);
  last = line.n;
  show(element("li", own ? { class: "own" } : {},
    element("bdi", { class: "who" }, line.name), " ",
    element("time", { class: "note" }, own ? `you, ${time}` : time),
    element("span", { class: "what", dir: "auto" }, line.text)));
}

function showHere() {
  const names = [...here].flatMap((name) => [", ", element("bdi", {}, name)]).slice(1);
  find("here").replaceChildren(...(names.length ? names : ["\u2013"]));
}

/** Show what of the last lines is not shown yet: after a lost connection some are. */
function caughtUp({ epoch: now, lines, here: names }) {
  const before = (lines[0]?.n ?? 1) - 1;
  if (epoch && epoch !== now) {
    note("The server has begun anew.");
  }
  if (epoch !== now) {
    [epoch, last] = [now, before];
  }
  if (before > last) {
    note(`${before - last} lines are missing here.`);
  }
  lines.filter((line) => line.n > last).forEach(said);
  here = new Set(names);
  showHere();
}

const take = {
  history: caughtUp,
  said,
  sent: ({ n, time }) => said({ n, time, name: client.Id, text: unnumbered.shift() }),
  came({ name }) {
    here.add(name);
    showHere();
    note(element("bdi", {}, name), " came");
  },
  left({ name }) {
    here.delete(name);
    showHere();
    note(element("bdi", {}, name), " left");
  },
  error: ({ text }) => (find("error").textContent = text),
};

function received(event) {
  const message = event.json();
  take[message.type]?.(message);
}

function changed() {
  const closed = client.state === "closed";
  find("toggle").textContent = closed ? "Come in" : "Leave";
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
  client = new PushClient("/chat/socket", { Id: name });
  client.addEventListener("open", () => (unnumbered = []));
  client.addEventListener("message", received);
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
  const text = find("text").value;
  const echo = !find("silent").checked;
  if (!client?.send({ text, echo })) {
    find("error").textContent = "Not sent: you are not connected.";
    return;
  }
  if (!echo) {
    unnumbered.push(text);
  }
  find("error").textContent = "";
  find("text").value = "";
  find("text").focus();
});

find("send").disabled = true;
find("name").value = recall("name");
if (find("name").value) {
  enter();
} else {
  find("name").focus();
}
