// What all demo pages share: the header, the state of the connection, the modules' source code.
//
// Text from elsewhere enters a page only as text, never as HTML: use element() and textContent,
// not innerHTML.

const PAGES = [
  { path: "/", name: "Clock", modules: ["clock"], script: "clock" },
  { path: "/chat/", name: "Chat", modules: ["chat", "messages"], script: "chat" },
  { path: "/direct/", name: "Direct", modules: ["direct", "messages"], script: "direct" },
  { path: "/vote/", name: "Vote", modules: ["vote", "logins"], script: "vote" },
  { path: "/monitor/", name: "Monitor", modules: ["monitor", "measures", "logs"],
    script: "monitor" },
  { path: "/game/", name: "Game", modules: ["game", "boards", "board"], script: "game" },
  { path: "/echo", name: "Echo", modules: ["echo"], script: "echo" },
];

const WORDS = { connecting: "connecting", open: "connected", waiting: "lost", closed: "closed" };

const here = PAGES.find((page) => page.path === location.pathname) ??
  PAGES.findLast((page) => location.pathname.startsWith(page.path)); // a page below one of them

/** Return the element with an id. */
export const find = (id) => document.getElementById(id);

/** Return a new element; children that are strings become text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Append to a list of at most `most` elements; if it was scrolled to its end, stay there. */
export function append(list, child, most = 200) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 8;
  list.append(child);
  while (list.children.length > most) {
    list.firstElementChild.remove();
  }
  if (atEnd) {
    list.scrollTop = list.scrollHeight;
  }
}

/** Return the value from the URL, or the one remembered in this browser, or `otherwise`. */
export function recall(key, otherwise = "") {
  const asked = new URLSearchParams(location.search).get(key);
  try {
    return asked || localStorage.getItem(`pushserver ${key}`) || otherwise;
  } catch {
    return asked || otherwise; // the browser does not store anything for us
  }
}

/** Remember something in this browser, for all pages. */
export function remember(key, value) {
  try {
    localStorage.setItem(`pushserver ${key}`, value);
  } catch {
    // then it is asked for again
  }
}

/** Return a five-digit number, as an Id for someone who has not chosen one. */
export const someId = () => String(10000 + (crypto.getRandomValues(new Uint16Array(1))[0] % 90000));

/** Show the state of a PushClient in the header from now on, instead of an earlier one's. */
export function follow(client) {
  followed = client;
  for (const type of ["state", "close"]) {
    client.addEventListener(type, (event) => {
      if (client === followed) {
        ending = type === "close" ? why(event) : ending;
        showState();
      }
    });
  }
  ending = "";
  showState();
}

let followed = null;
let ending = "";
let counting = 0;

/** Return why a connection ended; empty if it was closed from this page. */
function why({ code, reason }) {
  return code === 1000 && !reason ? "" : `${code} ${reason}`.trim();
}

function showState() {
  const state = followed.state;
  document.body.dataset.state = state;
  if (find("state").textContent !== WORDS[state]) {
    find("state").textContent = WORDS[state];
  }
  clearInterval(counting);
  if (state === "waiting") {
    counting = setInterval(countDown, 250);
    countDown();
  } else {
    find("again").textContent = state === "closed" ? ending : "";
  }
}

function countDown() {
  const seconds = Math.max(0, Math.ceil((followed.retryAt - Date.now()) / 1000));
  find("again").textContent = `retry in ${seconds} s`;
}

function header() {
  const links = PAGES.map((page) =>
    element("a", { href: page.path, ...(page === here && { "aria-current": "page" }) }, page.name));
  find("top").append(
    element("a", { class: "skip", href: "#main" }, "Skip to content"),
    element("a", { class: "brand", href: "/" }, "pushserver"),
    element("nav", { "aria-label": "Demos" }, ...links),
    element("p", { class: "state" },
      element("span", { id: "state", role: "status" }, "not connected"), " ",
      element("span", { id: "again" })));
}

function sources() {
  const files = here.modules.map((name) =>
    source(`pushserver/demo/${name}.py`, `/source/${name}`));
  files.push(source(`clients/browser/${here.script}.js`, `/browser/${here.script}.js`));
  find("main").append(
    element("section", { class: "sources", "aria-label": "Source" },
      element("h2", { id: "source" }, "How it works"), ...files));
  find("state").parentElement.after(
    element("a", { class: "to-source", href: "#source" }, `${here.modules[0]}.py`));
}

function source(name, address) {
  const text = element("pre", { tabindex: "0", "aria-label": name });
  const copy = element("button", { type: "button", class: "quiet" }, "Copy");
  const details = element("details", {}, element("summary", {}, name), copy, text);
  copy.addEventListener("click", () => copyText(text, copy));
  details.addEventListener("toggle", async () => {
    if (details.open && !text.textContent) {
      text.textContent = await (await fetch(address)).text();
    }
  });
  return details;
}

async function copyText(text, button) {
  getSelection().selectAllChildren(text); // if scripts may not copy, the keyboard can
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

header();
sources();
find("top").querySelector(".to-source").addEventListener("click", () => {
  find("main").querySelector(".sources details").open = true;
});
