"""Artifacts on S3 through the tracking server, with the public MLflow client: python s3_artifacts.py TRACKING_SERVER

Starts an S3 server (moto) and the tracking server, both on this machine. The client sends a file in parts to the signed
URLs, reads one by signed ranges and one through the server. Needs moto[server], boto3 and mlflow-skinny; without them it
says so and ends well. The tracking server must be built with the feature `s3`.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.parse

try:
    import boto3
    import mlflow
    import requests
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    from moto.server import ThreadedMotoServer
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(0)

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "aws_region": "us-east-1"}
PART = 5 << 20


def main(binary, work):
    s3_server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    s3_server.start()
    host, port = s3_server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    s3 = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
    )
    s3.create_bucket(Bucket="models")
    options = {**KEYS, "aws_endpoint": endpoint, "aws_allow_http": "true", "aws_virtual_hosted_style_request": "false"}
    command = [binary, "--home", f"{work}/home", "--port", "0", "--artifacts", "s3://models/team"]
    for key, value in options.items():
        command += ["--artifact-option", f"{key}={value}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        check(server.stdout.readline().strip(), s3, work)
    finally:
        server.terminate()
        server.wait()
        s3_server.stop()


def check(url, s3, work):
    os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = str(PART + 1)
    os.environ["MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"] = str(PART)
    os.environ["MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE"] = str(PART)
    info = requests.get(f"{url}/api/3.0/mlflow/server-info").json()
    assert info["multipart_uploads_enabled"] and info["multipart_downloads_enabled"], info

    client = mlflow.MlflowClient(url)
    run = client.create_run("0").info.run_id
    data = os.urandom(2 * PART + 12_345)
    large, small = f"{work}/large ü.bin", f"{work}/small.txt"
    open(large, "wb").write(data)
    open(small, "wb").write(b"small")
    for file in (large, small):
        client.log_artifact(run, file, "dir")
    key = f"team/0/{run}/artifacts/dir/large ü.bin"
    head = s3.head_object(Bucket="models", Key=key)
    assert head["ETag"].strip('"').endswith("-3"), f"not sent in three parts: {head['ETag']}"
    listed = sorted((file.path, file.file_size) for file in client.list_artifacts(run, "dir"))
    assert listed == [("dir/large ü.bin", len(data)), ("dir/small.txt", 5)], listed
    for name, want in (("large ü.bin", data), ("small.txt", b"small")):
        read = open(client.download_artifacts(run, f"dir/{name}", work), "rb").read()
        assert hashlib.sha256(read).digest() == hashlib.sha256(want).digest(), name

    through = f"{url}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts"
    assert requests.put(f"{through}/whole.bin", data=data).status_code == 200
    ranged = requests.get(f"{through}/whole.bin", headers={"Range": f"bytes={PART}-{PART + 99}"})
    assert (ranged.status_code, ranged.content) == (206, data[PART : PART + 100])

    parts = f"{url}/api/2.0/mlflow-artifacts/mpu"
    begun = requests.post(f"{parts}/create/0/{run}/artifacts", json={"path": "half ü.bin", "num_parts": 2}).json()
    for part in begun["credentials"]:
        check_signature(part["url"], part["part_number"], begun["upload_id"])
    ended = {"path": "half ü.bin", "upload_id": begun["upload_id"]}
    assert requests.post(f"{parts}/abort/0/{run}/artifacts", json=ended).status_code == 200
    assert requests.get(f"{through}/half ü.bin").status_code == 404
    assert requests.delete(f"{through}/whole.bin").status_code == 200
    print("S3: parts, signed ranges, proxy, abort and delete agree")


def check_signature(url, number, upload):
    """moto takes any signature, so it is computed again by botocore."""
    parsed = urllib.parse.urlsplit(url)
    pairs = urllib.parse.parse_qsl(parsed.query, keep_blank_values=True)
    given = dict(pairs)
    assert (given["partNumber"], given["uploadId"]) == (str(number), upload), given
    rest = urllib.parse.urlencode([pair for pair in pairs if pair[0] != "X-Amz-Signature"], quote_via=urllib.parse.quote)
    request = AWSRequest("PUT", parsed._replace(query=rest).geturl())
    request.context["timestamp"] = given["X-Amz-Date"]
    signer = S3SigV4QueryAuth(Credentials("key", "secret"), "s3", "us-east-1")
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert expected == given["X-Amz-Signature"], f"signed {given['X-Amz-Signature']}, botocore signs {expected}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1], folder)
