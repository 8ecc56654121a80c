// ws on Node, pushed to on its loop. See the package's docstring for the orders.
"use strict";

const fs = require("fs");
const http = require("http");
const https = require("https");
const readline = require("readline");
const { WebSocketServer } = require("ws");

const BACKLOG = 4096;
const SLICES = 100;
const STAMP = 17;
const NANOSECONDS = 1e9;

const groups = { all: new Set(), a: new Set(), b: new Set() };
const byId = new Map();

function now() {
  return Number(process.hrtime.bigint()) / NANOSECONDS;
}

function message(size) {
  return now().toFixed(6).padStart(STAMP, "0").padEnd(size, "x");
}

function say(...words) {
  fs.writeSync(1, words.join(" ") + "\n");
}

function keep(socket, path, id) {
  const mine = [...new Set(["all", path.slice(1)])];
  mine.forEach((group) => groups[group].add(socket));
  byId.set(id, socket);
  socket.on("close", () => {
    mine.forEach((group) => groups[group].delete(socket));
    byId.delete(id);
  });
}

function connected(socket, request) {
  const url = new URL(request.url, "http://localhost");
  socket.on("error", () => {});
  if (url.pathname === "/echo") {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
  } else {
    keep(socket, url.pathname, url.searchParams.get("Id"));
  }
}

function push(group, count, rate, size, burst) {
  const start = now();
  let number = 0;
  const round = () => {
    if (number === count) {
      say("done", group, now() - start);
      return;
    }
    const texts = Array.from({ length: burst }, () => message(size));
    texts.forEach((text) => groups[group].forEach((socket) => socket.send(text)));
    number += 1;
    setTimeout(round, Math.max(0, (start + number / rate - now()) * 1000));
  };
  round();
}

function targeted(count, rate) {
  const sockets = [...byId.values()];
  const start = now();
  const slice = rate / SLICES;
  let number = 0;
  const round = () => {
    for (let i = 0; i < slice && number < count; i += 1) {
      sockets[(number * 7919) % sockets.length].send(message(STAMP));
      number += 1;
    }
    if (number >= count) {
      say("done", "targeted", now() - start);
    } else {
      setTimeout(round, Math.max(0, (start + number / rate - now()) * 1000));
    }
  };
  round();
}

function obey(line) {
  const [verb, ...words] = line.split(" ");
  if (verb === "stop") {
    process.exit(0);
  } else if (verb === "stats") {
    const { user, system } = process.cpuUsage();
    say("stats", (user + system) / 1e6);
  } else if (verb === "push") {
    push(words[0], ...words.slice(1).map(Number));
  } else if (verb === "targeted") {
    targeted(...words.map(Number));
  }
}

const tls = process.argv.indexOf("--tls");
const server = tls < 0 ? http.createServer() : https.createServer({
  cert: fs.readFileSync(process.argv[tls + 1]), key: fs.readFileSync(process.argv[tls + 2]),
});
const sockets = new WebSocketServer({ server });
sockets.on("connection", connected);
server.listen({ port: 0, host: "127.0.0.1", backlog: BACKLOG }, () => {
  const versions = { Node: process.versions.node, ws: require("ws/package.json").version };
  say("ready", server.address().port, JSON.stringify(versions));
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", obey);
  lines.on("close", () => process.exit(0));
});
