"""Reads the documents that the registry writes with the programs they are meant for.

usage: documents.py DIRECTORY   (packages: huggingface_hub, pyyaml, cyclonedx-python-lib[json-validation], mlcroissant)
"""
import json, pathlib, sys

import mlcroissant
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import ModelCard

directory = pathlib.Path(sys.argv[1])
card = ModelCard.load(directory / "README.md")
results = {result.metric_type: result.metric_value for result in card.data.eval_results}
assert card.data.license == "apache-2.0" and card.data.pipeline_tag == "tabular-classification", card.data
assert results == {"auc": 0.925} and card.data.eval_results[0].dataset_name == "payments", results
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str((directory / "bom.json").read_text())
assert fault is None, fault
sheet = mlcroissant.Dataset(jsonld=json.loads((directory / "croissant.json").read_text()) | {})
assert not sheet.metadata.issues.errors, sheet.metadata.issues.errors
names = [field.name for field in sheet.metadata.record_sets[0].fields]
assert names == ["amount", "at"], names
print(f"model card read ({results}), ML-BOM valid against CycloneDX 1.6, data sheet read ({names})")
