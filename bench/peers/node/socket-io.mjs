// Broadcast on socket.io, over WebSocket only: "subscribe" joins the room, "publish" goes to all
// others in it.
import { createServer } from "node:http";
import { Server } from "socket.io";

const server = createServer();
const io = new Server(server, {
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
});

io.on("connection", (socket) => {
  socket.on("subscribe", () => {
    socket.join("room");
    socket.emit("subscribed");
  });
  socket.on("publish", (body) => socket.to("room").emit("message", body));
});

server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
