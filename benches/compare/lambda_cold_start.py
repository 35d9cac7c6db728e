#!/usr/bin/env python3
"""Cold start of the `lambda` example: from nothing to the first answer, without AWS.

    cargo build --release -p mlops-serve --example lambda --features lambda
    python3 benches/compare/lambda_cold_start.py target/release/examples/lambda MODELS MODEL BODY.json [ROUNDS]

Plays Lambda's runtime API (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html) on this machine. Of each round
it tells the milliseconds from the start of the process until it asks for its first event (Lambda's "init"), and until it
has answered the first inference; then of a second, warm event. Lambda itself adds the download of the package and the
start of its virtual machine, which are not ours to measure. The first round is not counted: it reads the program from disk.
"""
import http.server
import json
import os
import queue
import statistics
import subprocess
import sys
import threading
import time


class RuntimeApi(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    events: "queue.Queue[bytes]"
    asked: "queue.Queue[float]"
    answers: "queue.Queue[tuple[float, dict]]"

    def do_GET(self):
        type(self).asked.put(time.perf_counter())
        event = type(self).events.get()
        self.send_response(200)
        self.send_header("lambda-runtime-aws-request-id", "1")
        self.send_header("lambda-runtime-deadline-ms", str(int(time.time() * 1e3) + 60_000))
        self.send_header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-central-1:1:function:models")
        self.send_header("content-length", str(len(event)))
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().strip(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        type(self).answers.put((time.perf_counter(), json.loads(body)))
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """The function is killed when its round is over, with a request under way."""


def event(model, body):
    http_part = {"method": "POST", "path": f"/v2/models/{model}/infer", "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4",
                 "userAgent": "t"}
    context = {"accountId": "1", "apiId": "a", "domainName": "a", "domainPrefix": "a", "http": http_part,
               "requestId": "i", "routeKey": "$default", "stage": "$default", "time": "12/Mar/2024:19:03:58 +0000",
               "timeEpoch": 1710270238000}
    return json.dumps({"version": "2.0", "routeKey": "$default", "rawPath": http_part["path"], "rawQueryString": "",
                       "headers": {"content-type": "application/json"}, "requestContext": context, "body": body,
                       "isBase64Encoded": False}).encode()


def one_round(program, models, sent):
    RuntimeApi.events, RuntimeApi.asked, RuntimeApi.answers = queue.Queue(), queue.Queue(), queue.Queue()
    server = QuietServer(("127.0.0.1", 0), RuntimeApi)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = dict(os.environ, AWS_LAMBDA_RUNTIME_API=f"127.0.0.1:{server.server_port}",
                       AWS_LAMBDA_FUNCTION_NAME="models", AWS_LAMBDA_FUNCTION_MEMORY_SIZE="128",
                       AWS_LAMBDA_FUNCTION_VERSION="1", AWS_LAMBDA_LOG_STREAM_NAME="s", AWS_LAMBDA_LOG_GROUP_NAME="g")
    RuntimeApi.events.put(sent)
    begun = time.perf_counter()
    process = subprocess.Popen([program, models], env=environment)
    try:
        asked = RuntimeApi.asked.get(timeout=60)
        answered, answer = RuntimeApi.answers.get(timeout=60)
        assert answer["statusCode"] == 200, answer
        RuntimeApi.asked.get(timeout=60)
        warm_from = time.perf_counter()
        RuntimeApi.events.put(sent)
        warm, _ = RuntimeApi.answers.get(timeout=60)
        with open(f"/proc/{process.pid}/status") as status:
            resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    finally:
        process.kill()
        process.wait()
        server.shutdown()
    return [(asked - begun) * 1e3, (answered - begun) * 1e3, (warm - warm_from) * 1e3, resident / 1024]


def main():
    program, models, model, body, *rest = sys.argv[1:]
    sent = event(model, open(body).read())
    rounds = [one_round(program, models, sent) for _ in range(int(rest[0]) + 1 if rest else 21)][1:]
    for name, values in zip(["init ms", "first answer ms", "warm answer ms", "resident MiB"], zip(*rounds)):
        values = sorted(values)
        print(f"{name:16} median {statistics.median(values):7.2f}  min {values[0]:7.2f}  max {values[-1]:7.2f}")


if __name__ == "__main__":
    main()
