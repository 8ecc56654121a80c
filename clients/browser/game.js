// The game page: boards arrive, moves are sent.

import { element, find, follow, recall, remember, someId } from "./page.js";
import { PushClient } from "./push-client.js";

const KEYS = { ArrowUp: 0, ArrowDown: 1, ArrowLeft: 2, ArrowRight: 3 };
const SWIPE = 24; // pixels
const WON = 2048;

let client = null;
let watched = "";

function show({ board, score, over, error }) {
  find("error").textContent = error ?? "";
  if (!board) {
    return;
  }
  find("board").replaceChildren(...board.flat().map((tile) =>
    element("span", { "data-tile": tile }, tile ? String(tile) : "")));
  find("board").setAttribute("aria-label",
    board.map((row) => row.map((tile) => tile || "empty").join(", ")).join("; "));
  find("score").textContent = score;
  const won = board.flat().some((tile) => tile >= WON);
  find("status").textContent = [won && "You made 2048.", over && "Game over."]
    .filter(Boolean).join(" ");
}

/** Send a move or "new"; a spectator sends nothing. */
function play(command) {
  if (!watched && !client.send(command)) {
    find("error").textContent = "Not sent: you are not connected.";
  }
}

/** Play the board of an Id, or watch another's. */
function begin(Id, watch) {
  client?.close();
  watched = watch;
  find("id").value = Id;
  find("watch").value = watch;
  for (const button of document.querySelectorAll("#moves button, #new")) {
    button.disabled = Boolean(watch);
  }
  show({ board: Array(4).fill([0, 0, 0, 0]), score: 0 });
  const address = new URL(`/game/?${new URLSearchParams({ watch: watch || Id })}`, location);
  find("about").textContent = watch ? `You are watching ${watch} at` : "Others can watch you at";
  find("link").href = find("link").textContent = address.href;
  history.replaceState(null, "", `?${new URLSearchParams(watch ? { Id, watch } : { Id })}`);
  client = new PushClient("/game/socket", { Id, params: { watch: watch || undefined } });
  client.addEventListener("message", (event) => show(event.json()));
  follow(client);
}

find("play").addEventListener("submit", (event) => {
  event.preventDefault();
  remember("Id", find("id").value);
  begin(find("id").value, "");
  document.activeElement.blur();
});

find("look").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(find("id").value || someId(), find("watch").value);
});

find("new").addEventListener("click", () => play("new"));
find("moves").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) {
    play(Number(button.dataset.move));
  }
});

addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, pre, details");
  const modified = event.ctrlKey || event.altKey || event.metaKey || event.shiftKey;
  if (event.key in KEYS && !typing && !modified) {
    event.preventDefault();
    play(KEYS[event.key]);
  }
});

let start = { clientX: NaN }; // where a finger went down; a distance from NaN is never a swipe
find("board").addEventListener("pointerdown", (event) => {
  start = event;
  find("board").setPointerCapture(event.pointerId);
});
find("board").addEventListener("pointerup", (event) => {
  const [x, y] = [event.clientX - start.clientX, event.clientY - start.clientY];
  if (Math.max(Math.abs(x), Math.abs(y)) >= SWIPE) {
    play(Math.abs(x) > Math.abs(y) ? (x < 0 ? 2 : 3) : (y < 0 ? 0 : 1));
  }
});

begin(recall("Id", someId()), new URLSearchParams(location.search).get("watch") ?? "");
