// Play a whole game of 2048 on the demo site: node clients/game_player.mjs [URL]
//
// Needs the package ws: npm install ws. Open the address that it prints to watch it play.
import { createRequire } from "node:module";
import { PushClient } from "./browser/push-client.js";

const { WebSocket } = createRequire(import.meta.url)("ws"); // also found by NODE_PATH
const url = process.argv[2] ?? "ws://127.0.0.1:8888/game/socket?Id=node";
const [UP, DOWN, LEFT, RIGHT] = [0, 1, 2, 3];
const LIKED = [DOWN, LEFT, RIGHT, UP]; // the move to try first at the front

process.exitCode = 1; // until a game has been played
let before = null;
let tried = 0;

/** Try the next move if the last one changed nothing, else the one that is liked most. */
function play({ board, score, over, error }) {
  if (error) {
    console.error(error);
    client.close();
  } else if (over && before === null) {
    client.send("new"); // the last game under this Id has ended
  } else if (over) {
    console.log(board.map((row) => row.map((tile) => String(tile).padStart(5)).join(" ")).join("\n"));
    console.log("score", score);
    process.exitCode = 0;
    client.close();
  } else {
    tried = JSON.stringify(board) === before ? tried + 1 : 0;
    before = JSON.stringify(board);
    client.send(LIKED[tried % LIKED.length]);
  }
}

console.log(`watch it at ${url.replace("ws", "http").replace("socket?Id", "?watch")}`);
const client = new PushClient(url, { WebSocket });
client.addEventListener("open", () => console.log("connected"));
client.addEventListener("message", (event) => play(event.json()));
client.addEventListener("close", ({ code, reason, final }) => {
  if (code !== 1000) {
    console.error(`game_player: closed with ${code} ${reason}${final ? "" : ", trying again"}`);
  }
});
process.once("SIGINT", () => client.close());
