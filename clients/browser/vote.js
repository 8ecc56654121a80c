// The vote page: a click votes, and every page shows the count.

import { element, find, follow } from "./page.js";
import { PushClient } from "./push-client.js";

const ALERTS = 3;
const client = new PushClient("/vote/socket");
let mine = null;

/** Return the row of a candidate: a button to vote, and a bar. */
function row(key) {
  const found = find(`candidate-${key}`);
  if (found) {
    return found;
  }
  const button = element("button", { type: "button", class: "quiet", "aria-pressed": "false" });
  button.addEventListener("click", () => vote(key));
  const made = element("li", { id: `candidate-${key}` }, button,
    element("progress", { "aria-hidden": "true" }), element("output", {}));
  find("candidates").append(made);
  return made;
}

function vote(key) {
  const sent = client.send(key);
  find("error").textContent = sent ? "" : "Not counted: you are not connected.";
}

function showMine() {
  for (const item of find("candidates").children) {
    const chosen = item.id === `candidate-${mine}`;
    item.firstChild.setAttribute("aria-pressed", String(chosen));
    item.firstChild.classList.toggle("quiet", !chosen);
  }
}

const take = {
  vote({ candidates }) {
    const all = Object.values(candidates).reduce((sum, { count }) => sum + count, 0);
    for (const [key, { name, count }] of Object.entries(candidates)) {
      const [button, bar, number] = row(key).children;
      button.textContent = name;
      bar.max = Math.max(1, all);
      bar.value = count;
      number.textContent = `${count} ${count === 1 ? "vote" : "votes"}`;
    }
    showMine();
  },
  mine({ name, vote }) {
    find("name").textContent = name;
    mine = vote;
    showMine();
  },
  alert({ from, data }) {
    const close = element("button", { type: "button", class: "quiet" }, "Close");
    const made = element("p", { class: "card row" },
      element("span", {}, element("bdi", { class: "who" }, from), ": ", data), close);
    close.addEventListener("click", () => made.remove());
    find("alerts").prepend(made);
    while (find("alerts").children.length > ALERTS) {
      find("alerts").lastChild.remove();
    }
  },
  error: ({ text }) => (find("error").textContent = text),
};

client.addEventListener("message", (event) => {
  const message = event.json();
  take[message.type]?.(message);
});

/** Go to the login page if the session ended: a browser does not say why a socket was refused. */
async function checkLogin() {
  const answer = await fetch("/vote/", { redirect: "manual" }).catch(() => null);
  if (answer?.type === "opaqueredirect") {
    location.assign("/vote/login");
  }
}

let wasOpen = false;
client.addEventListener("open", () => (wasOpen = true));
client.addEventListener("close", ({ final }) => {
  if (final || !wasOpen) {
    checkLogin();
  }
  wasOpen = false;
});

find("notify").addEventListener("click", async () => {
  const answer = await fetch("/notify", { method: "POST", redirect: "manual" })
    .catch(() => null);
  find("error").textContent = answer?.ok ? "" : "Nobody was alerted: the server refused.";
  if (answer && !answer.ok) {
    await checkLogin();
  }
});

follow(client);
