// The clock page: what is pushed each second, and how late it was.

import { Chart } from "./chart.js";
import { element, find, follow, recall, remember, someId } from "./page.js";
import { PushClient } from "./push-client.js";

const SHOWN = 8;
const chart = new Chart(find("chart"), { label: "Lateness in ms", least: 5,
  format: (late) => String(Number(late.toFixed(1))) });

let client = null;
let origin = performance.timeOrigin;

/** Return milliseconds since 1970 with a fraction, which Date.now() lacks. */
function now() {
  const difference = Date.now() - (origin + performance.now());
  if (Math.abs(difference) > 2) {
    origin += difference; // the clock was set, or the machine slept
  }
  return origin + performance.now();
}

/** Return the same for a time in ISO 8601 with microseconds. */
function parse(text) {
  return Date.parse(text.replace(/\.\d+/, "")) + 1000 * Number(text.match(/\.\d+/)?.[0] ?? 0);
}

function show(text) {
  const late = Math.max(0, now() - parse(text));
  find("time").textContent = text;
  find("late").textContent = `arrived ${late.toFixed(1)} ms late`;
  chart.add(late);
  find("log").prepend(element("li", {}, text));
  while (find("log").children.length > SHOWN) {
    find("log").lastChild.remove();
  }
}

function received({ data }) {
  if (data.startsWith("{")) {
    find("connected").textContent = JSON.parse(data).connected;
  } else {
    show(data);
  }
}

function changed() {
  const closed = client.state === "closed";
  find("toggle").textContent = closed ? "Connect" : "Disconnect";
  find("id").disabled = !closed;
  if (client.state !== "open") {
    find("connected").textContent = "\u2013";
  }
}

function connect() {
  const Id = find("id").value;
  remember("Id", Id);
  history.replaceState(null, "", `?${new URLSearchParams({ Id })}`);
  const address = new URL("/websocket", location.href.replace(/^http/, "ws"));
  find("python").textContent = `python -m pushclient "${address.href}" --id ${quoted(Id)}`;
  client = new PushClient("/websocket", { Id, params: { count: 1 } });
  client.addEventListener("message", received);
  client.addEventListener("state", changed);
  follow(client);
  changed();
}

/** Return an Id quoted for a shell. */
function quoted(Id) {
  return /^[\w.-]+$/.test(Id) ? Id : `'${Id.replaceAll("'", "'\\''")}'`;
}

find("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  if (client.state === "closed") {
    connect();
  } else {
    client.close();
  }
});

find("id").value = recall("Id", someId());
connect();
