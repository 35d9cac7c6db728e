//! The page: its size, its structure whatever the names, and what it must say.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use mlops_core::{ModelName, Timestamp, Version, testing::SplitMix64};
use proptest::prelude::*;

use super::base64;
use crate::{
    DriftReport, Monitor, MonitoringReport, ProfileSettings, ReferenceProfile,
    report::{Cell, Heading, LineChart, RowOrder, Section, Status, Table, WindowSeries},
};

fn report(reference: Vec<(String, ArrayRef)>, current: Vec<(String, ArrayRef)>) -> DriftReport {
    let reference = RecordBatch::try_from_iter(reference).unwrap();
    let current = RecordBatch::try_from_iter(current).unwrap();
    let profile = ReferenceProfile::from_batch(&reference, &ProfileSettings::default()).unwrap();
    let report = Monitor::builder(profile).build().unwrap().observe(&current, Timestamp::from_millis(0));
    report.with_series(WindowSeries::of(&current, &RowOrder::Arrival).unwrap())
}

/// Bells and levels; from the middle on they have moved.
fn columns(count: u64, moved: bool) -> Vec<(String, ArrayRef)> {
    let column = |index: u64| {
        let shift = if moved && index >= count / 2 { 0.7 } else { 0.0 };
        let random = SplitMix64::new(index + if moved { 1000 } else { 0 });
        let values: ArrayRef = if index.is_multiple_of(3) {
            let level = |row: u64| format!("a rather long level {}", ((random.uniform(row) + shift) * 12.0).floor());
            Arc::new(StringArray::from_iter_values((0..600).map(level)))
        } else {
            Arc::new(Float64Array::from_iter_values(
                random.bell(600).into_iter().map(|value| value * 1234.5 + shift * 900.0),
            ))
        };
        (format!("a_feature_with_a_long_name_{index}"), values)
    };
    (0..count).map(column).collect()
}

#[test]
fn fifty_columns_fit_in_300_kb() {
    let page = report(columns(50, false), columns(50, true)).to_html();
    println!("{} bytes", page.len());
    assert!(page.len() <= 300_000, "{} bytes", page.len());
    assert_eq!(page.matches("<details>").count(), 50);
    for word in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(word), "the page names something outside itself: {word}");
    }
}

#[test]
fn pages_are_bounded_and_say_what_they_leave_out() {
    let page = report(columns(1_200, false), columns(1_200, true)).to_html();
    assert_eq!(page.matches("<tbody data-k=").count(), super::COLUMNS_MAX);
    assert_eq!(page.matches("<details>").count(), super::DETAILS_MAX);
    assert!(page.contains("200 more columns"));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}

#[test]
fn sections_come_after_drift() {
    let section = |status| {
        Section::new("Performance", status)
            .with_summary("Accuracy is below its band.")
            .with_chart(
                LineChart::new("Accuracy", ["mon", "tue", "wed"])
                    .with_line("estimated", [0.9, f64::NAN, 0.7])
                    .with_band("normal", [0.8; 3], [0.95; 3]),
            )
            .with_table(
                Table::new([Heading::text("Metric"), Heading::number("Value")])
                    .with_row([Cell::text("auc"), Cell::Interval(0.9, 0.88, 0.92)]),
            )
    };
    let drift = report(columns(3, false), columns(3, false));
    let whole = MonitoringReport::new(drift).with_model(&ModelName::new("churn").unwrap(), Version(7));
    assert_eq!(whole.status(), Status::Good);
    let whole = whole.with_section(section(Status::Bad));
    assert_eq!(whole.status(), Status::Bad);
    let page = whole.to_html();
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is not on the page"));
    assert!(place("id=\"columns-title\"") < place("id=\"section-0\""));
    place("Accuracy is below its band.");
    place("churn, version 7");
    place("0.9 <small>0.88 to 0.92</small>");
    place("No drift in 3 columns; see performance");
    let json: serde_json::Value = serde_json::from_str(&whole.to_json()).unwrap();
    assert_eq!(json["sections"][0]["charts"][0]["lines"][0]["values"][1], serde_json::Value::Null);
    assert_eq!((json["status"].as_str(), json["verdict"].as_str()), (Some("bad"), Some("ok")));
}

#[test]
fn base64_is_that_of_the_standard() {
    // RFC 4648, section 10.
    let cases =
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
    for (bytes, text) in cases {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}

/// Tags and names of attributes in order, as the tokenizer of the HTML standard sees them.
fn skeleton(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let name: String = rest.chars().take_while(|c| !c.is_whitespace() && *c != '>').collect();
        rest = &rest[name.len()..];
        found.push(name.clone());
        while !rest.starts_with('>') {
            rest = rest.trim_start();
            let attribute: String = rest.chars().take_while(|c| !c.is_whitespace() && !"=>".contains(*c)).collect();
            rest = &rest[attribute.len()..];
            if let Some(quoted) = rest.strip_prefix("=\"") {
                rest = &quoted[quoted.find('"').expect("an attribute that ends") + 1..];
            } else {
                assert!(!rest.starts_with('='), "an attribute without quotes in <{name}");
            }
            found.push(format!("  {attribute}"));
        }
        if name == "script" || name == "style" {
            rest = &rest[rest.find("</").expect("raw text that ends")..];
        }
    }
    found
}

fn everything_named(name: &str) -> MonitoringReport {
    let levels = |levels: [&str; 2]| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..400).map(|i| levels[usize::from(i % 4 == 0)].to_owned())))
    };
    let prefixed = [format!("0{name}"), format!("1{name}"), format!("2{name}")];
    let reference =
        vec![(prefixed[0].clone(), levels([&prefixed[0], &prefixed[1]])), (prefixed[1].clone(), levels(["a", "b"]))];
    let current =
        vec![(prefixed[0].clone(), levels([&prefixed[0], &prefixed[2]])), (prefixed[2].clone(), levels(["a", "b"]))];
    let chart = LineChart::new(name, [name; 3]).with_line(name, [1.0, 2.0, 3.0]).with_band(name, [0.0; 3], [4.0; 3]);
    let table = Table::new([Heading::text(name)])
        .with_caption(format!("!{name}"))
        .with_row([Cell::text(name)])
        .with_row([Cell::status(Status::Bad, name)]);
    let section = Section::new(name, Status::Bad).with_summary(format!("!{name}")).with_chart(chart).with_table(table);
    MonitoringReport::new(report(reference, current)).with_section(section)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn names_from_outside_never_change_the_structure(
        name in prop_oneof![
            ".{0,40}",
            "[<>\"'&=/ \\-!a-z\\[\\]\0\n\u{202e}]{0,80}",
            Just("</script><script>alert(1)</script>".to_owned()),
            Just("\" onmouseover=\"alert(1)".to_owned()),
            Just("<!--".to_owned()),
            Just("]]><svg onload=alert(1)>".to_owned()),
        ],
    ) {
        let plain = skeleton(&everything_named("name").to_html());
        prop_assert_eq!(skeleton(&everything_named(&name).to_html()), plain);
        let markdown = everything_named(&name).to_markdown();
        let structure = |text: &str| {
            let lines = text.lines().map(|line| (line.matches('|').count(), line.starts_with('#'), line.matches(['<', '[', '`', '@']).count()));
            lines.collect::<Vec<_>>()
        };
        prop_assert_eq!(structure(&markdown), structure(&everything_named("name").to_markdown()));
    }
}

#[test]
fn markdown_is_bounded() {
    let drift = report(columns(300, false), columns(300, true));
    let mut whole = MonitoringReport::new(drift);
    let rows = (0..300).map(|_| vec![Cell::text("<&|".repeat(60)); 12]);
    let mut table = Table::new((0..12).map(|index| Heading::text(format!("column {index}"))));
    table.rows = rows.collect();
    for index in 0..30 {
        whole = whole.with_section(Section::new(format!("part {index}"), Status::Bad).with_table(table.clone()));
    }
    let text = whole.to_markdown();
    assert!(text.len() <= crate::report::MARKDOWN_BYTES_MAX, "{} bytes", text.len());
    assert!(text.contains("sections left out for length"));
    assert!(text.contains("more columns that drifted not listed"));
}

/// Evenly spread numbers, so that a shift by `effect` is just as large a Kolmogorov distance.
fn even(effect: f64) -> RecordBatch {
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..60_000).map(|i| f64::from(i) / 6e4 + effect)));
    RecordBatch::try_from_iter([("amount", values)]).unwrap()
}

#[test]
fn verdicts_that_a_sketch_leaves_open_are_shown() {
    let reference = ReferenceProfile::from_batch(&even(0.0), &ProfileSettings::default()).unwrap();
    // So that the Kolmogorov distance alone decides.
    let settings = crate::MonitorSettings { psi_min: 1e9, ..crate::MonitorSettings::default() };
    let monitor = Monitor::builder(reference).with_settings(settings).build().unwrap();
    let sketched = |effect| {
        let mut window = crate::Profile::new(crate::SketchSettings::default()).unwrap();
        window.observe(&even(effect)).unwrap();
        MonitoringReport::new(monitor.observe_profile(&window, Timestamp::from_millis(0)).unwrap())
    };
    let check = |report: MonitoringReport, undecided: bool| {
        let ks = &report.drift().columns()[0].tests[0];
        assert_eq!(ks.is_undecided(), undecided, "{ks:?}");
        let (page, markdown, why) = (report.to_html(), report.to_markdown(), report.drift().why());
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["columns"][0]["undecided"], undecided);
        assert_eq!(page.contains("<small>? undecided</small>"), undecided);
        assert_eq!(page.contains("? Undecided"), undecided);
        assert_eq!(markdown.contains("ok, undecided"), undecided);
        assert_eq!(why.contains("leaves the verdict on \u{201c}amount\u{201d} open"), undecided, "{why}");
    };
    check(sketched(0.1), true);
    check(sketched(0.02), false);
    check(sketched(0.2), false);
    let exact = monitor.observe(&even(0.1), Timestamp::from_millis(0));
    check(MonitoringReport::new(exact), false);
}
