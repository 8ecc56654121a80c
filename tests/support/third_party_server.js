// The echo server of third_party_servers.py, written with Node's ws.
"use strict";
const { WebSocketServer } = require("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, maxPayload: 1 << 22 }, () => {
  console.log(server.address().port);
});
server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => {
    if (data.toString() === "close") socket.close(1000, "server");
    else socket.send(data, { binary: isBinary });
  });
  socket.on("close", (code) => console.log(code));
});
