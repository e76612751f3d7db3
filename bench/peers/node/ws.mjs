// Broadcast and echo on `ws`: "subscribe" is answered "subscribed", all else goes to every other
// subscriber.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false, skipUTF8Validation: true });
const subscribers = new Set();

sockets.on("connection", (socket, request) => {
  socket._socket.setNoDelay(true);
  if (request.url === "/echo") {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    return;
  }
  socket.on("message", (data) => {
    if (data.length === 9 && data.toString() === "subscribe") {
      subscribers.add(socket);
      socket.send("subscribed");
      return;
    }
    for (const other of subscribers) {
      if (other !== socket) other.send(data, { binary: false });
    }
  });
  socket.on("close", () => subscribers.delete(socket));
  socket.on("error", () => subscribers.delete(socket));
});

server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
