# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes connections as it is told: a request is a line of JSON, and so is its answer.

{"tag": 7, "do": "ask", "to": "10.43.0.1", "port": 80, "protocol": "tcp", "count": 60,
 "timeout": 1.0} makes so many connections, one after the other, and answers how often each
outcome came: {"tag": 7, "found": {"s1 10.42.0.7": 31, "s2 10.42.0.7": 29}}. An outcome that is no
server's answer is `refused`, `silence`, or the name of an error. "source" fixes the client's port.

"open", "talk" and "close" keep one connection, named by "name", and send a word over it.
"load" makes connections at a "rate" a second until "rest", which answers their outcomes, and how
many were "retried" by the kernel because a packet was lost.
"""

import collections
import errno
import json
import socket
import struct
import sys
import threading
import time

KINDS = {
    "tcp": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0),
    "sctp": (socket.SOCK_STREAM, 132),
}
# Offset of tcpi_total_retrans in struct tcp_info, linux/tcp.h.
RETRANSMITTED = 100
LOADERS = 8

writing = threading.Lock()
kept = {}
loads = {}


def connect(request):
    family = socket.AF_INET6 if ":" in request["to"] else socket.AF_INET
    made = socket.socket(family, *KINDS[request["protocol"]])
    made.settimeout(request["timeout"])
    try:
        if "source" in request:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("", request["source"]))
        if request["protocol"] == "tcp":
            # The end is a reset: no port of the client stays taken.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.connect((request["to"], request["port"]))
        if request["protocol"] == "udp":
            try:
                made.send(b"who are you?")
            except PermissionError:
                # The client's own node has a verdict; whether it is a refusal comes after this.
                pass
        return made, made.recv(200).decode().strip() or "end"
    except OSError as error:
        made.close()
        return None, outcome(error)


def outcome(error):
    if isinstance(error, TimeoutError):
        return "silence"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return errno.errorcode.get(error.errno, str(error))


def ask(request):
    found = collections.Counter()
    for _ in range(request["count"]):
        made, what = connect(request)
        found[what] += 1
        if made:
            made.close()
    return {"found": found}


def open_one(request):
    made, what = connect(request)
    if made:
        kept[request["name"]] = made
    return {"found": {what: 1}}


def talk(request):
    made = kept[request["name"]]
    try:
        made.send(request["word"].encode())
        what = made.recv(200).decode().strip() or "end"
    except OSError as error:
        what = outcome(error)
    return {"found": {what: 1}}


def close(request):
    kept.pop(request["name"]).close()
    return {"found": {}}


def load(request):
    state = {"over": threading.Event(), "found": collections.Counter(), "retried": 0, "times": []}
    lock = threading.Lock()

    def run(number):
        step = LOADERS / request["rate"]
        due = time.monotonic() + step * number / LOADERS
        while not state["over"].is_set():
            now = time.monotonic()
            if now < due:
                time.sleep(due - now)
            due = max(due + step, now - 1)
            began = time.time()
            made, what = connect(request)
            retried = 0
            if made:
                if request["protocol"] == "tcp":
                    info = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                    retried = struct.unpack_from("I", info, RETRANSMITTED)[0]
                made.close()
            with lock:
                state["found"][what] += 1
                state["retried"] += retried
                if what in ("silence", "refused") or what.isupper():
                    state["times"].append(f"{what} at {began:.3f}")

    state["threads"] = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(LOADERS)]
    loads[request["name"]] = state
    for thread in state["threads"]:
        thread.start()
    return {"found": {}}


def progress(request):
    return {"found": loads[request["name"]]["found"].copy()}


def rest(request):
    state = loads.pop(request["name"])
    state["over"].set()
    for thread in state["threads"]:
        thread.join()
    return {"found": state["found"], "retried": state["retried"], "times": state["times"][:20]}


DEEDS = {
    "ask": ask,
    "open": open_one,
    "talk": talk,
    "close": close,
    "load": load,
    "progress": progress,
    "rest": rest,
}


def serve(request):
    answer = DEEDS[request["do"]](request)
    answer["tag"] = request["tag"]
    with writing:
        print(json.dumps(answer), flush=True)


for line in sys.stdin:
    threading.Thread(target=serve, args=(json.loads(line),), daemon=True).start()
