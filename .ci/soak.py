#!/usr/bin/env python3
"""Loads the model server for minutes and checks that nothing fails and nothing grows.

usage: soak.py INFERENCE_SERVER WORK_DIR [--seconds 300] [--clients 32]

Eight kinds of requests, good and bad, over kept and over fresh connections, from as many threads as there are
clients; some clients go away in the middle of a body. Every answer must have the status that its request asks for.
Resident memory is read each second: what it is after the first fifth of the time, when pools and caches are full, may
grow by a tenth or by 8 MiB until the end, whichever is more. A termination signal under load ends it well.
"""
import argparse, http.client, json, os, pathlib, random, re, signal, socket, subprocess, sys, threading, time

GOOD = json.dumps({"inputs": [{"name": "INPUT0", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]})
MANY = json.dumps({"inputs": [{"name": "INPUT0", "shape": [64, 64], "datatype": "FP32", "data": [0.5] * 4096}]})
WRONG = json.dumps({"inputs": [{"name": "INPUT0", "shape": [2, 4], "datatype": "FP32", "data": [1, 2, 3]}]})
REQUESTS = [
    ("POST", "/v2/models/identity_fp32/infer", GOOD, 200),
    ("POST", "/v2/models/identity_fp32/infer", MANY, 200),
    ("POST", "/v2/models/identity_fp32/infer", WRONG, 400),
    ("POST", "/v2/models/identity_fp32/infer", "{", 400),
    ("POST", "/v2/models/absent/infer", GOOD, 404),
    ("POST", "/v1/models/iris:predict", json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}), 200),
    ("GET", "/v2/models/identity_fp32", None, 200),
    ("GET", "/metrics", None, 200),
]


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


class Client(threading.Thread):
    def __init__(self, address, seed, stop):
        super().__init__(daemon=True)
        self.address, self.random, self.stop = address, random.Random(seed), stop
        self.answers, self.failures = 0, []

    def run(self):
        connection = None
        while not self.stop.is_set():
            if connection is None or self.random.random() < 0.01:
                connection = http.client.HTTPConnection(*self.address, timeout=30)
            if self.random.random() < 0.005:
                self.leave()
                continue
            method, path, body, status = self.random.choices(REQUESTS, (40, 5, 10, 5, 10, 20, 9, 1))[0]
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                # At the end the server closes connections that rest.
                if not self.stop.is_set():
                    self.failures.append(f"{method} {path}: {error!r}")
                connection = None
                continue
            self.answers += 1
            if answer.status != status and not (self.stop.is_set() and answer.status == 503):
                self.failures.append(f"{method} {path}: {answer.status} instead of {status}")

    def leave(self):
        """Promises a body and hangs up in its middle."""
        with socket.create_connection(self.address, timeout=30) as gone:
            gone.sendall(b"POST /v2/models/identity_fp32/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--clients", type=int, default=32)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    command = [options.program, "--repository", options.work, "--http", "127.0.0.1:0", "--demo-models"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    host, port = server.stdout.readline().strip().removeprefix("http://").rsplit(":", 1)
    stop = threading.Event()
    clients = [Client((host, int(port)), seed, stop) for seed in range(options.clients)]
    for client in clients:
        client.start()
    memory = []
    for _ in range(options.seconds):
        time.sleep(1)
        memory.append(resident_kib(server.pid))
    stop.set()
    server.send_signal(signal.SIGTERM)
    status = server.wait(timeout=60)
    for client in clients:
        client.join(timeout=60)
    answers, failures = sum(client.answers for client in clients), [text for client in clients for text in client.failures]
    settled, last = memory[len(memory) // 5], max(memory[-max(1, len(memory) // 20):])
    print(f"soak: {answers} answers in {options.seconds} s, {len(failures)} failures, {settled / 1024:.1f} MiB after a fifth of the time, "
          f"{last / 1024:.1f} MiB at the end, exit {status}")
    for text in failures[:20]:
        print("FAILED", text)
    assert not failures and status == 0 and answers > 10 * options.seconds, "the server failed under load"
    assert last <= max(settled * 1.1, settled + 8192), "memory grew"


main()
