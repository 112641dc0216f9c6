"""A model server of a few lines that speaks Open Inference Protocol v2, with faults to order."""

import http.server
import json
import os
import signal
import threading
import time

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
with open("params.json") as file:
    params = json.load(file)
fault, value = params["fault"], params["value"]
lock = threading.Lock()
answered = 0
if fault == "crash":
    raise SystemExit("the model does not fit")
if fault == "silent":
    time.sleep(3600)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, b"{}")

    def do_POST(self):
        global answered
        self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            answered += 1
            number = answered
        if fault == "dies" and number > 40:
            os._exit(1)
        if fault == "errors":
            return self.answer(500, b'{"error": "out of order"}')
        if fault == "refuses":
            return self.answer(422, b'{"error": "unknown input"}')
        if fault == "garbage":
            return self.answer(200, b"\x00garbage")
        if fault == "wrong":
            outputs = [{"name": "other", "datatype": "BYTES", "shape": [1], "data": ["x"]}]
        else:
            outputs = [{"name": "late", "datatype": "FP64", "shape": [1, 1], "data": [value]}]
        self.answer(200, json.dumps({"outputs": outputs}).encode())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", int(os.environ["LINEAL_PORT"])), Handler).serve_forever()
