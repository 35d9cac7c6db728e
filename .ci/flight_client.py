"""pyarrow.flight against a feature server with the demo's view.

usage: flight_client.py http://HOST:PORT"""

import json
import sys
import urllib.request

import pyarrow as pa
import pyarrow.flight as flight

url = sys.argv[1]
ROWS = 5_000


def post(path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return answer.read()


def iso(seconds):
    return f"2025-06-01T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"


# Driver i has one row a second after 2025-06-01, by turns of ten drivers.
frame = {"driver_id": [i % 10 for i in range(ROWS)], "event_timestamp": [iso(i) for i in range(ROWS)],
         "created": [None] * ROWS, "a": [i / 3 for i in range(ROWS)], "b": [2**53 + 1 + i for i in range(ROWS)],
         "s": [f"trip {i}" for i in range(ROWS)], "t": [None] * ROWS}
post("/push", {"push_source_name": "driver_stats", "df": frame, "to": "online_and_offline"})

client = flight.connect(url.replace("http://", "grpc://"))


def ask(question):
    info = client.get_flight_info(flight.FlightDescriptor.for_command(json.dumps(question)))
    table = client.do_get(info.endpoints[0].ticket).read_all()
    assert table.schema == info.schema == client.get_schema(info.descriptor).schema
    assert info.total_records in (-1, table.num_rows)
    return table


online = ask({"online": {"service": "svc", "entities": {"driver_id": [3, 77, None]}}})
assert online.column_names == ["driver_id", "a", "b", "s", "t"], online.schema
assert online["b"].to_pylist() == [2**53 + 1 + ROWS - 7, None, None]
assert online["b"].type == pa.int64() and online["s"].to_pylist()[0] == f"trip {ROWS - 7}"

rows = {"driver_id": [3, 4], "event_timestamp": [iso(25), iso(25)]}
trained = ask({"training_set": {"service": "svc", "spine": {"rows": rows}}})
assert trained["a"].to_pylist() == [23 / 3, 24 / 3], trained

whole = ask({"training_set": {"service": "svc", "spine": {"table": {
    "name": "driver_stats", "columns": ["driver_id", "event_timestamp"]}}}})
assert whole.num_rows == ROWS
assert sorted(whole["b"].to_pylist()) == [2**53 + 1 + i for i in range(ROWS)]

for question, error in [({"online": {"service": "none", "entities": {}}}, "not defined"), ({"what": 1}, "unknown variant")]:
    try:
        ask(question)
    except pa.ArrowException as refused:
        assert error in str(refused), refused
    except KeyError as refused:  # pyarrow's class for NOT_FOUND
        assert error in str(refused), refused
    else:
        raise AssertionError(question)
print(f"pyarrow.flight {pa.__version__}: online features, training sets of rows and of a table, refusals")
