// The page for letters from one name to another.

import { append, element, find, follow, recall, remember } from "./page.js";
import { PushClient } from "./push-client.js";

const PREFIX = "direct."; // starts every Id on this page

let client = null;
let own = "";

/** Show a letter or an undelivered one, with who wrote it and to whom. */
function line(kind, who, what, name, more, text) {
  append(find("log"), element("li", { class: kind },
    element("bdi", { class: "who" }, who),
    element("span", { class: "note" }, ` ${what} `, element("bdi", {}, name), more),
    element("span", { class: "what", dir: "auto" }, text)));
}

const take = {
  letter({ from, to, text, windows }) {
    if (from === own && to !== own) {
      line("own", "you", "to", to, `, in ${windows} window${windows === 1 ? "" : "s"}`, text);
    } else {
      line(from === own ? "own" : "", from, "to", "you", "", text);
      find("to").value ||= from;
    }
  },
  absent: ({ to, text }) => line("error", "not delivered", "to", to, ", who is not here", text),
  error: ({ text }) => (find("error").textContent = text),
};

function received(event) {
  const message = event.json();
  take[message.type]?.(message);
}

function changed() {
  const closed = client.state === "closed";
  find("toggle").textContent = closed ? "Log in" : "Log out";
  find("name").disabled = !closed;
  find("send").disabled = client.state !== "open";
}

function login() {
  own = find("name").value.trim();
  remember("name", own);
  history.replaceState(null, "", `?${new URLSearchParams({ name: own })}`);
  client = new PushClient("/direct/socket", { Id: PREFIX + own });
  client.addEventListener("message", received);
  client.addEventListener("state", changed);
  follow(client);
  changed();
  find("to").focus();
}

find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  if (client && client.state !== "closed") {
    client.close();
  } else if (find("name").value.trim()) {
    login();
  }
});

find("write").addEventListener("submit", (event) => {
  event.preventDefault();
  if (client?.send({ to: find("to").value, text: find("text").value })) {
    find("error").textContent = "";
    find("text").value = "";
  } else {
    find("error").textContent = "Not sent: you are not connected.";
  }
  find("text").focus();
});

find("send").disabled = true;
find("name").value = recall("name");
if (find("name").value.trim()) {
  login();
} else {
  find("name").focus();
}
