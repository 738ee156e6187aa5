// A Firefox and a push service for it, told what to do by JSON lines on standard input: one answer each.
//
// The push service speaks as much of autopush's protocol as Firefox needs to register, to receive a message
// and to acknowledge it; whoever has an endpoint may post to it, as the hub does.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";
import { WebSocketServer } from "ws";

const browsers = new Map(); // channel → socket
const posts = [];
let status = 201;

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const channel = request.url.split("/").at(-1);
    const socket = browsers.get(channel);
    posts.push({ channel, headers: request.headers, bytes: Buffer.concat(chunks).length, at: Date.now() });
    const known = socket && socket.readyState === socket.OPEN;
    if (known && status === 201) {
      socket.send(JSON.stringify({
        messageType: "notification", channelID: channel, version: randomUUID(),
        data: Buffer.concat(chunks).toString("base64url"),
        headers: { encoding: request.headers["content-encoding"] },
      }));
    }
    response.writeHead(known ? status : 410, { "Content-Length": "0" }).end();
  });
});

new WebSocketServer({ server }).on("connection", (socket) => {
  socket.on("message", (text) => {
    const said = JSON.parse(text);
    const answer = { messageType: said.messageType, status: 200 };
    if (said.messageType === "hello") {
      Object.assign(answer, { uaid: said.uaid || randomUUID().replaceAll("-", ""), use_webpush: true, broadcasts: {} });
    } else if (said.messageType === "register") {
      browsers.set(said.channelID, socket);
      const pushEndpoint = `http://127.0.0.1:${server.address().port}/wpush/${said.channelID}`;
      Object.assign(answer, { channelID: said.channelID, pushEndpoint });
    } else if (said.messageType === "unregister") {
      browsers.delete(said.channelID);
      Object.assign(answer, { channelID: said.channelID });
    } else {
      return; // acknowledgements, broadcasts, pings
    }
    socket.send(JSON.stringify(answer));
  });
});

let browser = null;
let page = null;

async function open(firefox, profile) {
  browser = await puppeteer.launch({
    browser: "firefox", executablePath: firefox, headless: true, userDataDir: profile,
    extraPrefsFirefox: {
      "dom.push.serverURL": `ws://127.0.0.1:${server.address().port}/`,
      "dom.push.connection.enabled": true,
      "dom.push.testing.allowInsecureServerURL": true,
      "dom.push.testing.ignorePermission": true,
      "permissions.default.desktop-notification": 1,
      "alerts.useSystemBackend": false,
      "intl.accept_languages": "ko",
    },
  });
  page = await browser.newPage();
  await page.setViewport({ width: 390, height: 844 });
}

const commands = {
  open: ({ firefox, profile }) => open(firefox, profile),
  goto: ({ url }) => page.goto(url, { waitUntil: "load" }).then(() => page.url()),
  click: ({ selector }) => page.click(selector),
  evaluate: ({ code }) => page.evaluate(code),
  posts: () => posts,
  status: (said) => { status = said.status; },
  close: async () => { await browser?.close(); server.close(); setTimeout(() => process.exit(0), 100); },
};

server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ result: server.address().port }));
  createInterface({ input: process.stdin }).on("line", async (line) => {
    const said = JSON.parse(line);
    try {
      console.log(JSON.stringify({ result: (await commands[said.do](said)) ?? null }));
    } catch (error) {
      console.log(JSON.stringify({ error: String(error) }));
    }
  }).on("close", () => commands.close());
});
