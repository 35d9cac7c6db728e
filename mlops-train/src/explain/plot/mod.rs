//! Explanations as pictures: each a self-contained SVG, several a self-contained HTML page.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use mlops_train::explain::{Summary, plot};
//!
//! let importance = BTreeMap::from([("age".to_owned(), 0.7), ("income".to_owned(), 0.3)]);
//! let summary = Summary { method: "mean |shap|".into(), rows: None, importance };
//! let page = plot::page("Model 7", &[plot::importance(&summary)]);
//! assert!(page.starts_with("<!doctype html>") && page.contains("age"));
//! ```

mod attributions;
mod curves;

pub use attributions::{beeswarm, importance, waterfall};
pub use curves::{accumulated, history, partial};

use crate::svg::Escaped;

/// Of what raises the score and of the first line.
const HIGH: &str = "#c0392b";
/// Of what lowers it, and of bars without a sign.
const LOW: &str = "#2471a3";
/// Of what lies behind.
const PALE: &str = "#ccd1d1";

/// A picture with its heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// The picture, a whole SVG document.
    pub svg: String,
}

/// One HTML page of pictures, without anything from elsewhere.
#[must_use]
pub fn page(title: &str, plots: &[Plot]) -> String {
    let figure =
        |plot: &Plot| format!("<figure><figcaption>{}</figcaption>{}</figure>", Escaped(&plot.title), plot.svg);
    let figures: String = plots.iter().map(figure).collect();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>\
         body{{font-family:sans-serif;max-width:52rem;margin:2rem auto;color:#333}}\
         figure{{margin:2rem 0}}figcaption{{font-weight:bold;margin-bottom:.5rem}}svg{{width:100%}}\
         </style></head><body><h1>{title}</h1>{figures}</body></html>\n",
        title = Escaped(title)
    )
}
