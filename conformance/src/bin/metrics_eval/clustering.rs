//! Two labellings of the same rows.

use mlops_core::Result;
use mlops_metrics::Agreement;
use serde_json::{Value, json};

use crate::inputs::field;

pub(crate) fn section(input: &Value) -> Result<Value> {
    let (a, b): (Vec<usize>, Vec<usize>) = (field(input, "a")?, field(input, "b")?);
    let agreement = Agreement::of(&a, &b)?;
    Ok(json!({ "expected": {
        "ari": agreement.adjusted_rand(),
        "nmi": agreement.v_measure(),
        "ami": agreement.adjusted_mutual_information(),
        "homogeneity": agreement.homogeneity(),
        "completeness": agreement.completeness(),
        "v": agreement.v_measure(),
        "fowlkes": agreement.fowlkes_mallows(),
    } }))
}
