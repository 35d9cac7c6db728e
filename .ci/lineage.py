"""Our lineage events against OpenLineage's own JSON schemas, and its Python client's classes.
usage: lineage.py EVENTS.jsonl
Checks every event, every facet against the schema that it names, one START and one end per run, and the columns."""
import json
import pathlib
import sys

from jsonschema import Draft202012Validator, FormatChecker
from openlineage.client.run import Job, Run, RunEvent, RunState
from referencing import Registry, Resource

SCHEMAS = [json.loads(path.read_text()) for path in sorted((pathlib.Path(__file__).parent / "openlineage").glob("*.json"))]
REGISTRY = Registry().with_resources((schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS)


def validate(reference, value):
    Draft202012Validator({"$ref": reference}, registry=REGISTRY, format_checker=FormatChecker()).validate(value)


def facets(event):
    yield from event["run"].get("facets", {}).items()
    yield from event["job"].get("facets", {}).items()
    for dataset in event["inputs"] + event["outputs"]:
        for kind in ("facets", "inputFacets", "outputFacets"):
            yield from dataset.get(kind, {}).items()


def main():
    events = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
    seen, names, bad = {}, {}, 0
    for event in events:
        validate("https://openlineage.io/spec/2-0-2/OpenLineage.json", event)
        assert event["schemaURL"] == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
        RunEvent(RunState[event["eventType"]], event["eventTime"], Run(event["run"]["runId"]),
                 Job(event["job"]["namespace"], event["job"]["name"]), event["producer"])
        seen.setdefault(event["run"]["runId"], []).append(event["eventType"])
        for name, facet in facets(event):
            validate(facet["_schemaURL"], facet)
            names[name] = names.get(name, 0) + 1
            broken = {**facet, "_producer": 7}
            try:
                validate(facet["_schemaURL"], broken)
                bad += 1
            except Exception:
                pass
    assert bad == 0, "the schemas accept anything"
    assert all(types[0] == "START" and len(types) == 2 and types[1] in ("COMPLETE", "FAIL") for types in seen.values()), seen
    expected = {"schema", "columnLineage", "version", "outputStatistics", "dataQualityMetrics", "dataQualityAssertions",
                "errorMessage", "parent", "jobType", "processing_engine"}
    assert set(names) == expected, set(names) ^ expected
    kinds = {(event["job"]["name"].split(".")[0], event["eventType"]) for event in events}
    assert {(job, end) for job in ("ingest", "training_set", "materialize") for end in ("START", "COMPLETE", "FAIL")} <= kinds, kinds
    for event in events:
        for dataset in event["outputs"] if event["eventType"] == "COMPLETE" else []:
            columns = {field["name"] for field in dataset["facets"]["schema"]["fields"]}
            lineage = dataset["facets"]["columnLineage"]["fields"]
            assert set(lineage) <= columns, (dataset["name"], set(lineage) - columns)
    print(f"{len(events)} events of {len(seen)} runs and {sum(names.values())} facets of {len(names)} kinds are valid OpenLineage 2-0-2")


main()
