// push-client.js as a program that the tests lead: node push-client-driver.mjs URL [OPTIONS]
//
// OPTIONS are the client's, as JSON. It prints each event as a line of JSON and obeys lines of
// stdin: ["send", data] and so on, a method and its arguments. It ends by itself behind the final
// close, when nothing keeps it: no timer, no socket.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { PushClient } from "../../clients/browser/push-client.js";

const require = createRequire(import.meta.url); // finds `ws` by NODE_PATH; import does not
const { WebSocket } = require("ws");
const [url, text = "{}"] = process.argv.slice(2);
const { throwing, ...options } = JSON.parse(text);
const tell = (...what) => console.log(JSON.stringify(what));

const client = new PushClient(url, { WebSocket, ...options });
if (throwing) {
  process.on("uncaughtException", (error) => tell("uncaught", error.message));
  for (const type of ["open", "message", "close", "state"]) {
    client.addEventListener(type, () => {
      throw new Error(type);
    });
  }
}
client.addEventListener("open", () => tell("open"));
client.addEventListener("message", ({ data }) =>
  tell("message", typeof data === "string" ? data : [...new Uint8Array(data)]));
client.addEventListener("close", ({ code, reason, final }) => tell("close", code, reason, final));
client.addEventListener("state", ({ state }) => tell("state", state));

createInterface({ input: process.stdin }).on("line", (line) => {
  const [method, ...args] = JSON.parse(line);
  tell(method, client[method](...args) ?? null);
});
process.stdin.unref();
