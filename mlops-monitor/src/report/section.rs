//! Further sections of a report, as plain data: what other parts of monitoring found, for the same page.
//!
//! Invariant: plain data only, no markup; every list has a bound that is applied when the section is rendered, and
//! what is left out is said. A section does not know who made it.

use serde::Serialize;

/// Most sections of a report.
pub const SECTIONS_MAX: usize = 24;
/// Most rows of a table that are rendered.
pub const TABLE_ROWS_MAX: usize = 200;
/// Most columns of a table that are rendered.
pub const TABLE_COLUMNS_MAX: usize = 12;
/// Most charts of a section.
pub const CHARTS_MAX: usize = 8;
/// Most lines of a chart.
pub const LINES_MAX: usize = 5;
/// Most points of a line that are rendered.
pub const POINTS_MAX: usize = 200;

/// How something is, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// For information; judges nothing.
    Neutral,
    /// As it should be.
    Good,
    /// Worth a look, or not known for lack of data.
    Attention,
    /// Wrong.
    Bad,
}

impl Status {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Good => "good",
            Self::Attention => "attention",
            Self::Bad => "bad",
        }
    }
}

/// One topic of a report, such as data quality or performance.
///
/// ```
/// use mlops_monitor::report::{Cell, Heading, Section, Status, Table};
///
/// let rules = Table::new([Heading::text("Rule"), Heading::number("Broken"), Heading::text("Verdict")])
///     .with_row([Cell::text("amount is never null"), Cell::Number(12.0), Cell::status(Status::Bad, "failed")]);
/// let section = Section::new("Data quality", Status::Bad)
///     .with_summary("1 of 8 rules failed; 12 of 10,000 rows are affected.")
///     .with_table(rules);
/// assert_eq!(section.tables[0].rows.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// Heading, such as `Data quality`.
    pub title: String,
    /// How this topic is.
    pub status: Status,
    /// One or two plain sentences that say why; may be empty.
    pub summary: String,
    /// Charts over time, shown before the tables.
    pub charts: Vec<LineChart>,
    /// Tables.
    pub tables: Vec<Table>,
}

impl Section {
    /// A section without content.
    #[must_use]
    pub fn new(title: impl Into<String>, status: Status) -> Self {
        Self { title: title.into(), status, summary: String::new(), charts: Vec::new(), tables: Vec::new() }
    }

    /// Says why in plain words.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// Adds a table.
    #[must_use]
    pub fn with_table(mut self, table: Table) -> Self {
        self.tables.push(table);
        self
    }

    /// Adds a chart.
    #[must_use]
    pub fn with_chart(mut self, chart: LineChart) -> Self {
        self.charts.push(chart);
        self
    }
}

/// A table with headed columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What the table shows; may be empty.
    pub caption: String,
    /// Its columns.
    pub columns: Vec<Heading>,
    /// Its rows; missing cells are empty, surplus ones are not shown.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(columns: impl IntoIterator<Item = Heading>) -> Self {
        Self { caption: String::new(), columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Says what the table shows.
    #[must_use]
    pub fn with_caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = caption.into();
        self
    }

    /// Adds a row.
    #[must_use]
    pub fn with_row(mut self, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.rows.push(cells.into_iter().collect());
        self
    }
}

/// The head of a table's column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heading {
    /// Its text.
    pub name: String,
    /// Whether cells are aligned as numbers are.
    pub numeric: bool,
}

impl Heading {
    /// Over words.
    #[must_use]
    pub fn text(name: impl Into<String>) -> Self {
        Self { name: name.into(), numeric: false }
    }

    /// Over numbers.
    #[must_use]
    pub fn number(name: impl Into<String>) -> Self {
        Self { name: name.into(), numeric: true }
    }
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number, written for people; NaN is a dash.
    Number(f64),
    /// A share of one, written as a percentage.
    Share(f64),
    /// A number with its interval: value, lower end, upper end.
    Interval(f64, f64, f64),
    /// A judgement in one or two words.
    Status(Status, String),
    /// Nothing.
    Empty,
}

impl Cell {
    /// Words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number, with its interval `(low, high)` where there is one; empty without a number.
    #[must_use]
    pub fn measured(value: Option<f64>, interval: Option<(f64, f64)>) -> Self {
        match (value, interval) {
            (Some(value), Some((low, high))) => Self::Interval(value, low, high),
            (Some(value), None) => Self::Number(value),
            (None, _) => Self::Empty,
        }
    }

    /// A judgement.
    #[must_use]
    pub fn status(status: Status, words: impl Into<String>) -> Self {
        Self::Status(status, words.into())
    }
}

/// Lines over an ordered axis, with an optional band of what is normal.
///
/// ```
/// use mlops_monitor::report::LineChart;
///
/// let chart = LineChart::new("Accuracy", ["Mon", "Tue", "Wed"])
///     .with_line("estimated", [0.91, 0.90, 0.84])
///     .with_band("normal range", [0.88; 3], [0.93; 3]);
/// assert_eq!(chart.lines[0].values.len(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LineChart {
    /// What the vertical axis shows.
    pub title: String,
    /// The place of each point on the horizontal axis, in order.
    pub labels: Vec<String>,
    /// The lines; each has a value per label, NaN for none.
    pub lines: Vec<Line>,
    /// What is normal.
    pub band: Option<Band>,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// A value per label.
    pub values: Vec<f64>,
}

/// The range of a chart that is normal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Band {
    /// Its name in the legend.
    pub name: String,
    /// Its lower end per label.
    pub low: Vec<f64>,
    /// Its upper end per label.
    pub high: Vec<f64>,
}

impl LineChart {
    /// A chart without lines.
    #[must_use]
    pub fn new<L: Into<String>>(title: impl Into<String>, labels: impl IntoIterator<Item = L>) -> Self {
        let labels = labels.into_iter().map(Into::into).collect();
        Self { title: title.into(), labels, lines: Vec::new(), band: None }
    }

    /// Adds a line.
    #[must_use]
    pub fn with_line(mut self, name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        self.lines.push(Line { name: name.into(), values: values.into_iter().collect() });
        self
    }

    /// Sets the band.
    #[must_use]
    pub fn with_band(
        mut self,
        name: impl Into<String>,
        low: impl IntoIterator<Item = f64>,
        high: impl IntoIterator<Item = f64>,
    ) -> Self {
        self.band = Some(Band { name: name.into(), low: low.into_iter().collect(), high: high.into_iter().collect() });
        self
    }
}
