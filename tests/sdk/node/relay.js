// A relay to the server that can be cut: to a client the server is down then, and to everybody else it is not.

import net from 'node:net';

export async function relay(url) {
  const { hostname, port } = new URL(url);
  const sockets = new Set();
  const listener = net.createServer((client) => {
    const server = net.connect(Number(port), hostname);
    for (const [from, to] of [[client, server], [server, client]]) {
      sockets.add(from);
      from.on('error', () => to.destroy()).on('close', () => to.destroy());
      from.pipe(to);
    }
  });
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${listener.address().port}`,
    // From now on nobody is connected and nobody can connect.
    async cut() {
      const closed = new Promise((resolve) => listener.close(resolve));
      sockets.forEach((socket) => socket.destroy());
      await closed;
    },
  };
}
