"""The OTLP body of mlops-monitor's metrics, read by OpenTelemetry's own protocol buffers, against the Prometheus text.

usage: otlp_metrics.py METRICS.txt OTLP.json   (needs the package opentelemetry-proto)
"""
import math
import sys

from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

NAMES = {
    "mlops.drift.drifted_features": "mlops_drifted_features_ratio",
    "mlops.feature.missing": "mlops_feature_missing_ratio",
    "mlops.monitor.run.duration": "mlops_monitor_run_duration_seconds",
    "mlops.monitor.runs": "mlops_monitor_runs_total",
    "mlops.quality.violations": "mlops_quality_violations_total",
    "mlops.monitor.last_success": "mlops_last_success_timestamp_seconds",
    "mlops.monitor.build": "mlops_monitor_build_info",
}
LABELS = {"mlops.model.name": "model", "mlops.feature.name": "feature"}


def escaped(text):
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def main():
    text, body = (open(path, encoding="utf-8").read() for path in sys.argv[1:3])
    lines = (line.rsplit(" ", 1) for line in text.split("\n") if line and not line.startswith("#"))
    expected = {series: float(value) for series, value in lines if "_bucket{" not in series}
    request = Parse(body, ExportMetricsServiceRequest())
    assert ExportMetricsServiceRequest.FromString(request.SerializeToString()) == request
    (resource,) = request.resource_metrics
    assert "service.name" in {attribute.key for attribute in resource.resource.attributes}
    points = 0
    for metric in resource.scope_metrics[0].metrics:
        name = NAMES.get(metric.name, metric.name.replace(".", "_"))
        kind = metric.WhichOneof("data")
        for point in getattr(metric, kind).data_points:
            label = lambda attribute: LABELS.get(attribute.key, attribute.key.split(".")[-1])
            pairs = (f'{label(attribute)}="{escaped(attribute.value.string_value)}"' for attribute in point.attributes)
            labels = "{" + ",".join(pairs) + "}"
            found = {name: point.as_double if kind == "gauge" else 0}
            if kind == "sum":
                found = {name: point.as_int}
                assert metric.sum.is_monotonic and point.start_time_unix_nano <= point.time_unix_nano
            elif kind == "histogram":
                found = {f"{name}_count": point.count, f"{name}_sum": point.sum}
                assert point.count == sum(point.bucket_counts) and len(point.bucket_counts) == len(point.explicit_bounds) + 1
            for series, value in found.items():
                value_expected = expected.pop(series + labels)
                assert math.isclose(value, value_expected), (series, labels, value, value_expected)
                points += 1
    assert not expected, f"not in the OTLP body: {sorted(expected)[:5]}"
    print(f"OTLP: {points} values survive OpenTelemetry's protocol buffers and equal those of Prometheus")


main()
