// The echo page: send something and see it come back.

import { append, element, find, follow, recall, someId } from "./page.js";
import { PushClient } from "./push-client.js";

const client = new PushClient("/echo", {
  Id: recall("Id", someId()),
  params: { handshake: 1 },
});
const sentAt = [];
let shown = false;

function line(direction, data, note = "") {
  const text = typeof data === "string" ? data : new TextDecoder().decode(data);
  const kind = typeof data === "string" ? "" : ` (${data.byteLength} bytes)`;
  append(find("log"), element("li", { class: direction },
    element("span", { class: "note" }, `${direction === "sent" ? "sent" : "back"}${kind} `),
    element("span", { class: "what" }, text), element("span", { class: "note" }, note)));
}

/** Show the first message of a connection: the header lines of request and response. */
function handshake(text) {
  for (const [name, lines] of Object.entries(JSON.parse(text))) {
    find(name).textContent = lines.join("\n");
  }
}

client.addEventListener("open", () => {
  shown = false;
  sentAt.length = 0;
});
client.addEventListener("message", ({ data }) => {
  if (!shown) {
    shown = true;
    handshake(data);
  } else {
    line("received", data, ` after ${(performance.now() - sentAt.shift()).toFixed(1)} ms`);
  }
});

find("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = find("text").value;
  const data = find("binary").checked ? new TextEncoder().encode(text) : text;
  sentAt.push(performance.now());
  if (client.send(data)) {
    line("sent", data);
    find("text").value = "";
  } else {
    sentAt.pop();
    line("sent", "not sent: the connection is not open");
  }
  find("text").focus();
});

follow(client);
