// The monitor: charts of what is measured every second, and the server's log.

import { Chart } from "./chart.js";
import { append, element, find, follow, recall, someId } from "./page.js";
import { PushClient } from "./push-client.js";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Format a number of bytes in the unit that needs at most four digits. */
function bytes(value) {
  const power = Math.min(4, Math.floor(Math.log2(Math.max(1, value)) / 10));
  const number = value / 1024 ** power;
  return `${number.toFixed(number < 10 && power ? 1 : 0)} ${UNITS[power]}`;
}

const percent = (value) => `${Math.round(value)} %`;
const whole = (value) => (Number.isInteger(value) ? String(value) : "");

/** What each chart shows: the fields of a measurement with their names, and a line of text. */
const SHOWN = [
  { title: "CPU", names: { cpu: "CPU" }, options: { top: 100, format: percent },
    text: ({ cpu, cores }) => `${percent(cpu)} of ${cores} cores` },
  { title: "Memory", names: { memory: "memory" }, options: { top: 100, format: percent },
    text: ({ memory, total, process }) =>
      `${percent(memory)} of ${bytes(total)}; this process ${bytes(process)}` },
  { title: "Network", names: { received: "in", sent: "out" },
    options: { least: 1024, base: 2, format: bytes },
    text: ({ received, sent }) => `in ${bytes(received)}/s, out ${bytes(sent)}/s` },
  { title: "Connections", names: { connections: "push clients", tcp: "TCP sockets" },
    options: { least: 4, format: whole },
    text: ({ connections, tcp }) => `${connections} push clients; ${tcp} TCP sockets in total` },
];

const charts = SHOWN.map((shown) => {
  const text = element("p", { class: "note" }, "waiting for a measurement");
  const place = element("div", { class: "chart-place" });
  const legend = Object.values(shown.names).map((name, line) =>
    element("span", { class: `key line-${line}` }, name));
  find("charts").append(element("section", { class: "card", "aria-label": shown.title },
    element("h2", {}, shown.title), text, place,
    ...(legend.length > 1 ? [element("p", { class: "note legend" }, ...legend)] : [])));
  return { ...shown, text, words: shown.text,
    chart: new Chart(place, { label: shown.title, ...shown.options }) };
});

function measured(measurement) {
  for (const { chart, names, text, words } of charts) {
    text.textContent = words(measurement);
    chart.add(...Object.keys(names).map((name) => measurement[name]));
  }
}

function logged(lines) {
  for (const line of lines) {
    append(find("log"), element("li", {}, line));
  }
}

const client = new PushClient("/monitor/socket", { Id: recall("Id", someId()) });
client.addEventListener("open", () => find("log").replaceChildren());
client.addEventListener("message", (event) => {
  const message = event.json();
  if (message.log) {
    logged(message.log);
  } else if (message.install) {
    find("install").textContent = message.install;
    find("charts").hidden = true;
  } else {
    measured(message);
  }
});
follow(client);
