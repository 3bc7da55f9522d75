"""A relay to the server that can be cut: to a client the server is down then, and to everybody else it is not."""

import socket
import threading
from urllib.parse import urlsplit


class Relay:
    def __init__(self, url):
        target = urlsplit(url)
        self._target = (target.hostname, target.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [client, server]
            for source, sink in [(client, server), (server, client)]:
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()

    def cut(self):
        """From now on nobody is connected and nobody can connect."""
        # Closing alone does not wake the thread that accepts.
        for end in [self._listener, *self._sockets]:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


def _pass_on(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
