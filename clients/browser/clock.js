// The clock page: one WebSocket of the browser's own, and what arrives on it.

const SHOWN = 8;
const TEXT = new TextDecoder();
const find = (id) => document.getElementById(id);

let socket = null;

function setState(state) {
  find("state").textContent = state;
  document.body.dataset.state = state;
  find("toggle").textContent = state === "closed" ? "Connect" : "Disconnect";
  find("id").disabled = state !== "closed";
}

function address(id) {
  const url = new URL("websocket", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.search = new URLSearchParams({ Id: id });
  return url.href;
}

function show(text) {
  const late = Date.now() - Date.parse(text);
  find("time").textContent = text;
  find("late").textContent = Number.isNaN(late) ? "" : `sent ${Math.max(0, late)} ms ago`;
  const line = document.createElement("li");
  line.textContent = text;
  find("log").prepend(line);
  while (find("log").children.length > SHOWN) {
    find("log").lastChild.remove();
  }
}

function connect() {
  const id = find("id").value;
  const url = address(id);
  history.replaceState(null, "", `?${new URLSearchParams({ Id: id })}`);
  find("python").textContent = `python -m pushclient "${url.split("?")[0]}" --id ${quoted(id)}`;
  setState("connecting");
  const mine = (socket = new WebSocket(url));
  mine.binaryType = "arraybuffer";
  mine.onopen = () => setState("open");
  mine.onmessage = (event) =>
    show(typeof event.data === "string" ? event.data : TEXT.decode(event.data));
  mine.onclose = (event) => {
    if (mine === socket) {
      setState("closed");
      find("late").textContent = `closed with ${event.code} ${event.reason}`;
    }
  };
}

function quoted(id) {
  return /^[\w.-]+$/.test(id) ? id : `'${id.replaceAll("'", "'\\''")}'`;
}

find("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  if (document.body.dataset.state === "closed") {
    connect();
  } else {
    socket.close(1000);
  }
});

find("id").value =
  new URLSearchParams(location.search).get("Id") ||
  String(crypto.getRandomValues(new Uint16Array(1))[0]);
connect();
