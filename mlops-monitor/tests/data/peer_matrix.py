"""Makes great_expectations.json beside it, or loads a validation result of ours into Great Expectations.

    pip install great_expectations==1.24.1 pandas==3.1.1
    python peer_matrix.py make great_expectations.json
    python peer_matrix.py load RESULT.json
"""

import json
import sys
import warnings

import great_expectations as gx
import great_expectations.expectations as gxe
import numpy as np
import pandas as pd
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResultSchema
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.row_conditions import Column

warnings.filterwarnings("ignore")

COLUMNS = {
 "id":   ("Int64",  [1,2,3,4,5,6,7,8,9,10,11,12]),
 "dup":  ("Int64",  [1,2,2,3,3,3,4,5,6,7,8,9]),
 "x":    ("Float64",[0.5,1.5,2.5,None,3.5,10.0,-1.0,2.5,2.0,None,0.0,4.5]),
 "y":    ("Float64",[0.5,1.0,3.0,None,2.5,10.0,None,2.0,2.5,1.0,0.0,4.0]),
 "up":   ("Float64",[1.0,2.0,2.0,None,3.0,2.5,4.0,None,5.0,5.0,6.0,7.0]),
 "empty":("Float64",[None]*12),
 "s":    ("String", ["a1","b22","abc",None,"a1","","a%b","B1","c3","a1",None,"zz9"]),
 "c":    ("String", ["red","red","blue",None,"green","red","blue","blue","black","red",None,"blue"]),
 "d":    ("String", ["2024-02-29","2023-02-29",None,"2024-13-01","x","2024-01-01","2024-1-5","2020-12-31",None,"2021-06-30","2021-06-31","1999-01-01"]),
 "j":    ("String", ["{}","[1,2]","{","null",None,"\"a\"","nul","1","{\"a\":1}","",None,"[]"]),
 "p":    ("Int64",  [1,1,2,2,3,3,4,4,5,5,6,6]),
 "q":    ("Int64",  [1,2,1,2,3,4,3,3,5,6,6,6]),
 "b":    ("Bool",   [True,False,True,True,True,False,True,True,True,True,False,True]),
}

DTYPES = {"Int64": "int64", "Float64": "float64", "String": "object", "Bool": "bool"}

KEPT = (
    "element_count",
    "missing_count",
    "missing_percent",
    "unexpected_count",
    "unexpected_percent",
    "unexpected_percent_total",
    "unexpected_percent_nonmissing",
    "observed_value",
    "partial_unexpected_list",
)

MATRIX = []


def e(name, **kwargs):
    MATRIX.append((name, kwargs))


for m in (1.0, 0.8, 0.75, 0.5):
    e("expect_column_values_to_not_be_null", column="x", mostly=m)
    e("expect_column_values_to_be_null", column="x", mostly=m)
    e("expect_column_values_to_be_between", column="x", min_value=0, max_value=3, mostly=m)
    e("expect_column_values_to_be_in_set", column="c", value_set=["red","blue"], mostly=m)
    e("expect_column_values_to_be_unique", column="c", mostly=m)
e("expect_column_values_to_not_be_null", column="id")
e("expect_column_values_to_not_be_null", column="empty")
e("expect_column_values_to_be_null", column="empty")
e("expect_column_values_to_be_between", column="empty", min_value=0)
e("expect_column_values_to_be_between", column="x", min_value=0.5, max_value=3.5, strict_min=True, strict_max=True)
e("expect_column_values_to_be_between", column="x", min_value=0)
e("expect_column_values_to_be_between", column="dup", min_value=2, max_value=5, strict_max=True)
e("expect_column_values_to_be_between", column="dup", min_value=1.5, max_value=5.5)
e("expect_column_values_to_be_unique", column="id")
e("expect_column_values_to_be_unique", column="dup")
e("expect_column_values_to_be_unique", column="x")
e("expect_column_values_to_be_unique", column="empty")
e("expect_column_values_to_be_in_set", column="dup", value_set=[1,2,3])
e("expect_column_values_to_not_be_in_set", column="c", value_set=["red"])
e("expect_column_values_to_not_be_in_set", column="dup", value_set=[3], mostly=0.75)
e("expect_column_values_to_be_in_set", column="x", value_set=[0.5,1.5,2.5])
e("expect_column_values_to_be_in_set", column="b", value_set=[True])
e("expect_column_values_to_be_in_set", column="empty", value_set=[1.5])
for s in (["red","blue"],["red","blue","green","black"],["red","blue","green","black","white"]):
    for t in ("equal_set","contain_set","be_in_set"):
        e("expect_column_distinct_values_to_"+t, column="c", value_set=s)
for s in (["red"],["red","blue"],["green"]):
    for ties in (True,False):
        e("expect_column_most_common_value_to_be_in_set", column="c", value_set=s, ties_okay=ties)
for st in (True,False):
    e("expect_column_values_to_be_increasing", column="up", strictly=st)
    e("expect_column_values_to_be_decreasing", column="up", strictly=st)
    e("expect_column_values_to_be_increasing", column="id", strictly=st)
    e("expect_column_values_to_be_increasing", column="p", strictly=st)
for th in (1.0,2.0,3.0):
    for ds in (True,False):
        e("expect_column_value_z_scores_to_be_less_than", column="x", threshold=th, double_sided=ds)
e("expect_column_values_to_match_regex", column="s", regex="[0-9]")
e("expect_column_values_to_match_regex", column="s", regex="^[a-z]+[0-9]*$", mostly=0.6)
e("expect_column_values_to_match_regex", column="s", regex="1")
e("expect_column_values_to_not_match_regex", column="s", regex="a")
e("expect_column_values_to_not_match_regex", column="s", regex="1")
e("expect_column_values_to_match_regex_list", column="s", regex_list=["^a","9$"], match_on="any")
e("expect_column_values_to_match_regex_list", column="s", regex_list=["^a","1$"], match_on="all")
e("expect_column_values_to_not_match_regex_list", column="s", regex_list=["^a","9$"])
e("expect_column_value_lengths_to_be_between", column="s", min_value=2, max_value=3)
e("expect_column_value_lengths_to_be_between", column="s", min_value=1, max_value=3, strict_min=True)
e("expect_column_value_lengths_to_equal", column="s", value=2)
e("expect_column_values_to_match_strftime_format", column="d", strftime_format="%Y-%m-%d")
e("expect_column_values_to_be_json_parseable", column="j")
for f,lo,hi in (("min",-1.0,0.0),("max",0,9.5),("max",0,10),("mean",2,3),("median",2,3),("stdev",2,3),("stdev",3,3.2),("sum",20,30)):
    e(f"expect_column_{f}_to_be_between", column="x", min_value=lo, max_value=hi)
e("expect_column_min_to_be_between", column="x", min_value=-1, strict_min=True)
e("expect_column_mean_to_be_between", column="empty", min_value=0)
e("expect_column_sum_to_be_between", column="dup", min_value=53, max_value=53)
e("expect_column_median_to_be_between", column="dup", min_value=3.5, max_value=3.5)
e("expect_column_min_to_be_between", column="dup", min_value=1, max_value=1)
for a in ("nearest","linear","lower","higher","midpoint"):
    e("expect_column_quantile_values_to_be_between", column="x", quantile_ranges={"quantiles":[0.0,0.1,0.25,0.5,0.77,1.0],"value_ranges":[[None,0],[-1,1],[0,1],[2,2.5],[2,4],[None,None]]}, allow_relative_error=a)
e("expect_column_unique_value_count_to_be_between", column="c", min_value=4, max_value=4)
e("expect_column_proportion_of_unique_values_to_be_between", column="c", min_value=0.4, max_value=0.4)
e("expect_column_proportion_of_unique_values_to_be_between", column="dup", min_value=0.7, max_value=0.8)
e("expect_column_proportion_of_non_null_values_to_be_between", column="x", min_value=0.8, max_value=0.9)
for ig in ("both_values_are_missing","either_value_is_missing","neither"):
    for oe in (True,False):
        e("expect_column_pair_values_a_to_be_greater_than_b", column_A="x", column_B="y", or_equal=oe, ignore_row_if=ig)
    e("expect_column_pair_values_to_be_equal", column_A="x", column_B="y", ignore_row_if=ig)
e("expect_column_pair_values_to_be_equal", column_A="p", column_B="q", mostly=0.5)
e("expect_column_pair_values_to_be_in_set", column_A="p", column_B="q", value_pairs_set=[[1,1],[1,2],[2,1],[2,2],[3,3]])
for ig in ("all_values_are_missing","any_value_is_missing","never"):
    e("expect_compound_columns_to_be_unique", column_list=["c","b"], ignore_row_if=ig)
    e("expect_select_column_values_to_be_unique_within_record", column_list=["p","q","id"], ignore_row_if=ig)
    e("expect_multicolumn_sum_to_equal", column_list=["x","y"], sum_total=1.0, ignore_row_if=ig)
e("expect_compound_columns_to_be_unique", column_list=["p","q"])
e("expect_table_row_count_to_be_between", min_value=10, max_value=12)
e("expect_table_row_count_to_equal", value=11)
e("expect_table_column_count_to_equal", value=13)
e("expect_table_column_count_to_be_between", min_value=14)
e("expect_table_columns_to_match_ordered_list", column_list=list(COLUMNS))
e("expect_table_columns_to_match_ordered_list", column_list=list(COLUMNS)[::-1])
e("expect_table_columns_to_match_set", column_set=list(COLUMNS)[::-1])
e("expect_table_columns_to_match_set", column_set=["id","x"], exact_match=False)
e("expect_table_columns_to_match_set", column_set=["id","x"])
e("expect_column_to_exist", column="x")
e("expect_column_to_exist", column="nope")
e("expect_column_to_exist", column="id", column_index=0)
e("expect_column_to_exist", column="x", column_index=0)
cond={"type":"comparison","column":{"name":"dup"},"operator":">=","parameter":3}
e("expect_column_values_to_be_between", column="x", min_value=0, max_value=3, row_condition=cond, condition_parser="great_expectations")
e("expect_column_values_to_be_unique", column="c", row_condition=cond, condition_parser="great_expectations")
e("expect_column_mean_to_be_between", column="x", min_value=0, max_value=3, row_condition=cond, condition_parser="great_expectations")


def one(batch, name, kwargs):
    arguments = dict(kwargs)
    if "row_condition" in arguments:
        arguments["row_condition"] = Column("dup") >= 3
        arguments.pop("condition_parser")
    expectation = getattr(gxe, "".join(word.capitalize() for word in name.split("_")))
    result = batch.validate(expectation(**arguments), result_format="SUMMARY").to_json_dict()
    if result["exception_info"].get("raised_exception"):
        raise SystemExit(f"{name} {kwargs}: {result['exception_info']}")
    kept = {key: value for key, value in result["result"].items() if key in KEPT}
    return {"type": name, "kwargs": kwargs, "success": result["success"], "result": kept}


def make(path):
    frame = pd.DataFrame({name: pd.Series(values, dtype=DTYPES[kind]) for name, (kind, values) in COLUMNS.items()})
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("p").add_dataframe_asset("t")
    batch = asset.add_batch_definition_whole_dataframe("b").get_batch({"dataframe": frame})
    results = [one(batch, name, kwargs) for name, kwargs in MATRIX]
    versions = {
        "great_expectations": gx.__version__,
        "pandas": pd.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }
    columns = [{"name": name, "type": kind, "values": values} for name, (kind, values) in COLUMNS.items()]
    line = lambda item: json.dumps(item, default=lambda scalar: scalar.item())
    with open(path, "w") as file:
        file.write(json.dumps(versions)[:-1])
        file.write(',\n"columns":[\n' + ",\n".join(map(line, columns)))
        file.write('\n],\n"results":[\n' + ",\n".join(map(line, results)) + "\n]}\n")


def load(path):
    with open(path) as file:
        document = json.load(file)
    result = ExpectationSuiteValidationResultSchema().load(document)
    for item in document["results"]:
        config = {key: item["expectation_config"][key] for key in ("type", "kwargs", "meta", "severity")}
        if not config["type"].startswith("expect_mlops_"):
            ExpectationConfiguration(**config).to_domain_obj()
    print(type(result).__name__, result.success, result.statistics)


{"make": make, "load": load}[sys.argv[1]](sys.argv[2])
