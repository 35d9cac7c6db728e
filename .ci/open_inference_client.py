"""The public Triton client against the inference server: every datatype, JSON and binary, right and wrong.

  pip install 'tritonclient[http]' requests
  python open_inference_client.py http://HOST:PORT    # of inference_server --demo-models
"""

import gzip
import json
import sys
import threading

import numpy as np
import requests
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

base = sys.argv[1].rstrip("/")
host = base.removeprefix("http://")
client = triton.InferenceServerClient(host, concurrency=8)
passed, failed = 0, []


def check(what, condition):
    global passed
    if condition:
        passed += 1
    else:
        failed.append(what)
        print(f"FAIL {what}", flush=True)


def tensor(data, datatype, binary):
    made = triton.InferInput("INPUT0", list(data.shape), datatype)
    made.set_data_from_numpy(data, binary_data=binary)
    return made


def infer(model, data, datatype, binary_in, binary_out, **kwargs):
    wanted = triton.InferRequestedOutput("OUTPUT0", binary_data=binary_out)
    return client.infer(model, [tensor(data, datatype, binary_in)], outputs=[wanted], **kwargs)


DATATYPES = {
    "BOOL": np.array([[True, False, True]]),
    **{f"{kind}{bits}": np.array([[0, 1, limit]], dtype=f"{kind.lower()}{bits}")
       for kind, bits, limit in [("UINT", 8, 255), ("UINT", 16, 2**16 - 1), ("UINT", 32, 2**32 - 1), ("UINT", 64, 2**64 - 1),
                                 ("INT", 8, -128), ("INT", 16, -(2**15)), ("INT", 32, -(2**31)), ("INT", 64, -(2**63))]},
    "FP32": np.array([[0.1, -1e-30, 3.4e38]], dtype=np.float32),
    "FP64": np.array([[0.1, 5e-324, 1.7e308]]),
    "BYTES": np.array([["", "naïve 漢字 🙂", "a\nb"]], dtype=object),
}


def as_text(array):
    return [item.decode() if isinstance(item, bytes) else item for item in array.ravel().tolist()]


check("live", client.is_server_live())
check("ready", client.is_server_ready())
check("extensions name binary data", "binary_tensor_data" in client.get_server_metadata()["extensions"])
for datatype, data in DATATYPES.items():
    model = f"identity_{datatype.lower()}"
    check(f"{model} is ready", client.is_model_ready(model))
    described = client.get_model_metadata(model)
    check(f"{model} describes itself", [(i["name"], i["datatype"]) for i in described["inputs"]] == [("INPUT0", datatype)])
    for binary_in in (False, True):
        for binary_out in (False, True):
            answer = infer(model, data, datatype, binary_in, binary_out, request_id="ключ-7")
            got = answer.as_numpy("OUTPUT0")
            same = as_text(got) == as_text(data) if datatype == "BYTES" else got.dtype == data.dtype and np.array_equal(got, data)
            check(f"{model} in binary={binary_in} out binary={binary_out}", same and got.shape == data.shape)
            check(f"{model} echoes the id", answer.get_response()["id"] == "ключ-7")

half = np.array([[0.5, -2.0, 65504.0]], dtype=np.float16)
check("identity_fp16 in binary", np.array_equal(infer("identity_fp16", half, "FP16", True, True).as_numpy("OUTPUT0"), half))

large = np.arange(2_000_000, dtype=np.float32).reshape(1, -1)
for packing in (None, "gzip", "deflate"):
    answer = infer("identity_fp32", large, "FP32", True, True, request_compression_algorithm=packing, response_compression_algorithm=packing)
    check(f"8 MB come back, packed by {packing}", np.array_equal(answer.as_numpy("OUTPUT0"), large))

url = f"{base}/v2/models/identity_fp32/infer"
good = {"inputs": [{"name": "INPUT0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
for body in ["", "{", "[]", "{}", '{"inputs":[]}', "\0" * 64, "[" * 100_000]:
    answer = requests.post(url, data=body, timeout=10)
    check(f"{body[:20]!r} is the client's fault", answer.status_code == 400 and "error" in answer.json())
for change in [{"data": [1]}, {"name": "X"}, {"datatype": "INT8"}, {"shape": [-1, 2]}, {"shape": [2**62, 4]}, {"data": [1, None]}, {"data": [1, "x"]}]:
    answer = requests.post(url, json={"inputs": [{**good["inputs"][0], **change}]}, timeout=10)
    check(f"{change} is the client's fault", answer.status_code == 400 and "error" in answer.json())
header = json.dumps(good).encode()
for length in ["-1", "x", str(len(header) + 1)]:
    answer = requests.post(url, data=header, headers={"Inference-Header-Content-Length": length}, timeout=10)
    check(f"header length {length} is the client's fault", answer.status_code == 400)
bomb = gzip.compress(b" " * 300_000_000)
answer = requests.post(url, data=bomb, headers={"Content-Encoding": "gzip"}, timeout=60)
check("a body that unpacks beyond bounds is refused", answer.status_code in (400, 413))
check("an unknown model is not found", requests.post(f"{base}/v2/models/nope/infer", json=good, timeout=10).status_code == 404)
check("GET of infer is no method", requests.get(url, timeout=10).status_code == 405)
try:
    client.infer("nope", [tensor(large, "FP32", True)])
    check("the client raises for an unknown model", False)
except InferenceServerException as error:
    check("the client raises for an unknown model", "nope" in str(error))


def hammer(number, wrong):
    data = np.full((1, 64), number, dtype=np.int64)
    mine = triton.InferenceServerClient(host)
    for _ in range(50):
        got = mine.infer("identity_int64", [tensor(data, "INT64", True)]).as_numpy("OUTPUT0")
        wrong.extend([number] * (not np.array_equal(got, data)))


mixed = []
threads = [threading.Thread(target=hammer, args=(number, mixed)) for number in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
check("16 clients at once get their own answers", not mixed)
check("it counts what it served", "_total" in requests.get(f"{base}/metrics", timeout=10).text)
print(f"tritonclient: {passed} of {passed + len(failed)} checks passed")
sys.exit(1 if failed else 0)
