//! Scores into probabilities.

use mlops_core::Result;
use mlops_metrics::{PlattScaling, TemperatureScaling};
use mlops_monitor::estimate::IsotonicCalibration;
use serde_json::{Value, json};

use crate::inputs::field;

pub(crate) fn section(input: &Value) -> Result<Value> {
    let (logits, labels): (Vec<f64>, Vec<f64>) = (field(input, "logit")?, field(input, "y")?);
    let isotonic = IsotonicCalibration::fit(&logits, &labels, None)?;
    let (x, y): (Vec<f64>, Vec<f64>) = isotonic.thresholds().iter().copied().unzip();
    let platt = PlattScaling::fit(&logits, &labels)?;
    let scaling = TemperatureScaling::fit(&logits, &labels)?;
    Ok(json!({
        "isotonic": { "x": x, "y": y },
        "platt": { "a": platt.slope, "b": platt.intercept },
        "temperature": scaling.temperature,
        "nll": scaling.log_loss(&logits, &labels),
    }))
}
