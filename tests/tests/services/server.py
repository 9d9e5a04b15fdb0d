# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers on port 8080 with its name and the client's address, as `s1 10.42.0.7`.

Over TCP (and SCTP, where the kernel has it) the answer comes at once, and from then on whatever
the client sends comes back. Over UDP each datagram is answered.
"""

import selectors
import socket
import sys

NAME = sys.argv[1]
PORT = 8080
loop = selectors.DefaultSelector()


def answer(peer):
    return f"{NAME} {peer[0].removeprefix('::ffff:')}\n".encode()


def accept(listener):
    connection, peer = listener.accept()
    connection.setblocking(False)
    try:
        connection.send(answer(peer))
    except OSError:
        connection.close()
        return
    loop.register(connection, selectors.EVENT_READ, echo)


def echo(connection):
    try:
        data = connection.recv(4096)
        if data:
            connection.send(data)
            return
    except OSError:
        pass
    loop.unregister(connection)
    connection.close()


def reply(endpoint):
    try:
        _, peer = endpoint.recvfrom(4096)
        endpoint.sendto(answer(peer), peer)
    except OSError:
        # An earlier answer was refused, because that client is gone.
        pass


def serve(kind, protocol, act):
    endpoint = socket.socket(socket.AF_INET6, kind, protocol)
    endpoint.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    endpoint.bind(("::", PORT))
    if kind == socket.SOCK_STREAM:
        endpoint.listen(1024)
    loop.register(endpoint, selectors.EVENT_READ, act)


try:
    serve(socket.SOCK_STREAM, 132, accept)
except OSError:
    # No SCTP in this kernel; the tests say so themselves.
    pass
serve(socket.SOCK_DGRAM, 0, reply)
# Readiness asks for TCP, which therefore comes last.
serve(socket.SOCK_STREAM, 0, accept)
while True:
    for key, _ in loop.select():
        key.data(key.fileobj)
