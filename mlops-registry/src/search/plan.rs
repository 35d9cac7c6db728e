//! A parsed filter: clauses that a record meets or not.
//!
//! Invariant: a clause on something that a record lacks is false, also for `!=`; only IS NULL matches absence.

use mlops_core::Result;
use regex::{Regex, RegexBuilder};

use super::parse::{Token, TokenKind, error_at, tokens};

/// What a record says about a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// A number; metrics and numeric attributes.
    Number(f64),
    /// Text.
    Text(String),
    /// Several texts, such as the names of all datasets; a clause holds when it does for one of them.
    Texts(Vec<String>),
    /// Several numbers, such as all points of a metric; a clause holds when it does for one of them.
    Numbers(Vec<f64>),
    /// The record has no such thing.
    Missing,
}

/// Records that can be searched.
pub(crate) trait Fields {
    /// The one-word names of groups of keys, with their aliases: `("metrics", "metric")`.
    const GROUPS: &'static [(&'static str, &'static str)];
    /// The keys of those groups that do not have any.
    const KEYS: &'static [(&'static str, &'static [&'static str])] = &[];
    /// The attributes that filters may name, and whether each is a number.
    const ATTRIBUTES: &'static [(&'static str, bool)];
    /// The attributes and groups that IN works on.
    const LISTED: &'static [&'static str];
    /// The groups whose keys IS NULL works on.
    const NULLABLE: &'static [&'static str];
    /// The group of attributes, by all its names.
    const ATTRIBUTE_GROUPS: &'static [&'static str] = &["attributes", "attribute", "attr", "run"];
    /// The groups whose values may be compared with text and with numbers.
    const MIXED: &'static [&'static str] = &[];
    /// Whether RLIKE works: regular expressions.
    const REGEX: bool = false;
    /// The value of `key` in `group`; the group of attributes is `attributes`.
    fn field(&self, group: &str, key: &str) -> Operand;
    /// The value to order by, where it is another.
    fn rank(&self, group: &str, key: &str) -> Operand {
        self.field(group, key)
    }
}

/// What a clause asks of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Compare(&'static str, Literal),
    Like { pattern: String, fold_case: bool },
    Matches(Pattern),
    In { texts: Vec<String>, negated: bool },
    Null { is_null: bool },
}

/// A value as written; a number is never NaN.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Number(f64),
    Text(String),
}

/// What a literal may be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Number,
    Text,
    Mixed,
}

/// A regular expression.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// Most bytes that a compiled regular expression may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// One condition: what is asked of which key of which group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clause {
    pub(crate) group: &'static str,
    pub(crate) key: String,
    pub(crate) test: Test,
}

/// All clauses of a filter; none admits everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    clauses: Vec<Clause>,
}

impl Clause {
    /// That a text is this one.
    pub(crate) fn equal(group: &'static str, key: &str, text: &str) -> Self {
        Self { group, key: key.to_owned(), test: Test::Compare("=", Literal::Text(text.to_owned())) }
    }
}

impl Filter {
    /// All of these clauses.
    pub(crate) fn of(clauses: Vec<Clause>) -> Self {
        Self { clauses }
    }

    /// Parses a filter over records of type `T`.
    pub(crate) fn parse<T: Fields>(text: &str) -> Result<Self> {
        let tokens = tokens(text)?;
        let mut parser = Parser { text, tokens: &tokens, next: 0 };
        let mut clauses = Vec::new();
        while parser.next < tokens.len() {
            if !clauses.is_empty() {
                parser.keyword("AND")?;
            }
            clauses.push(parser.clause::<T>()?);
        }
        Ok(Self { clauses })
    }

    /// All clauses, of which a record must meet every one.
    pub(crate) fn clauses(&self) -> &[Clause] {
        &self.clauses
    }

    /// Whether a clause names one of these keys of a group; no keys: any of them.
    pub(crate) fn names(&self, group: &str, keys: &[&str]) -> bool {
        self.clauses.iter().any(|clause| clause.group == group && (keys.is_empty() || keys.contains(&&*clause.key)))
    }

    /// Whether a record meets every clause.
    pub(crate) fn admits<T: Fields>(&self, record: &T) -> bool {
        self.clauses.iter().all(|clause| holds(&clause.test, &record.field(clause.group, &clause.key)))
    }
}

/// Group and key of a name; a name without group is an attribute.
pub(super) fn resolve<T: Fields>(name: &str) -> std::result::Result<(&'static str, String), String> {
    if let Some((group, key)) = name.split_once('.') {
        let known = T::GROUPS.iter().find(|(plural, singular)| group == *plural || group == *singular);
        return match known {
            Some((plural, _)) if !key.is_empty() => match T::KEYS.iter().find(|(of, _)| of == plural) {
                Some((_, keys)) if !keys.contains(&key) => {
                    Err(format!("Invalid {group} key '{key}' specified; known are {}", keys.join(", ")))
                }
                _ => Ok((plural, key.to_owned())),
            },
            Some(_) => Err("the key after the dot is missing".to_owned()),
            None => attribute::<T>(group, key),
        };
    }
    attribute::<T>("attributes", name)
}

fn attribute<T: Fields>(group: &str, key: &str) -> std::result::Result<(&'static str, String), String> {
    let groups: Vec<&str> = T::GROUPS.iter().map(|(plural, _)| *plural).collect();
    if !T::ATTRIBUTE_GROUPS.contains(&group) {
        return Err(format!("Invalid entity type {group:?}; known are attributes, {}", groups.join(", ")));
    }
    match T::ATTRIBUTES.iter().find(|(name, _)| *name == key) {
        Some(_) => Ok(("attributes", key.to_owned())),
        None => {
            let names: Vec<&str> = T::ATTRIBUTES.iter().map(|(name, _)| *name).collect();
            Err(format!("Invalid attribute key '{key}' specified; known are {}", names.join(", ")))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    next: usize,
}

impl Parser<'_> {
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |token| token.at)
    }

    fn fail<T>(&self, what: &str) -> Result<T> {
        Err(error_at(self.text, self.at(), what))
    }

    fn take(&mut self) -> Option<TokenKind> {
        let token = self.tokens.get(self.next)?;
        self.next += 1;
        Some(token.kind.clone())
    }

    fn is_keyword(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.next), Some(Token { kind: TokenKind::Word(found), .. }) if found.eq_ignore_ascii_case(word))
    }

    fn keyword(&mut self, word: &str) -> Result<()> {
        if !self.is_keyword(word) {
            return self.fail(&format!("expected {word}"));
        }
        self.next += 1;
        Ok(())
    }

    fn clause<T: Fields>(&mut self) -> Result<Clause> {
        let at = self.at();
        let name = match self.take() {
            Some(TokenKind::Word(name) | TokenKind::Text(name)) => name,
            _ => return Err(error_at(self.text, at, "expected a name such as metrics.auc")),
        };
        let (group, key) = resolve::<T>(&name).map_err(|what| error_at(self.text, at, &what))?;
        let numeric = group == "metrics"
            || T::ATTRIBUTES.iter().any(|(name, number)| group == "attributes" && *name == key && *number);
        let kind = match numeric {
            _ if T::MIXED.contains(&group) => Kind::Mixed,
            true => Kind::Number,
            false => Kind::Text,
        };
        let operator_at = self.at();
        let test = self.test(group, kind, T::REGEX)?;
        let subject = if group == "attributes" { key.as_str() } else { group };
        let (operator, subjects) = match &test {
            Test::In { .. } => ("IN", T::LISTED),
            Test::Null { .. } => ("IS NULL", T::NULLABLE),
            Test::Compare(..) | Test::Like { .. } | Test::Matches(_) => return Ok(Clause { group, key, test }),
        };
        if !subjects.contains(&subject) {
            let works = match subjects {
                [] => "it works on nothing here".to_owned(),
                ["tags"] if operator == "IS NULL" => "IS NULL / IS NOT NULL is only supported for tags".to_owned(),
                subjects => format!("it works on {}", subjects.join(", ")),
            };
            return Err(error_at(
                self.text,
                operator_at,
                &format!("Invalid comparator {operator} for {name}; {works}"),
            ));
        }
        Ok(Clause { group, key, test })
    }

    fn test(&mut self, group: &str, kind: Kind, regex: bool) -> Result<Test> {
        let at = self.at();
        if self.is_keyword("IS") {
            self.next += 1;
            let negated = self.is_keyword("NOT");
            self.next += usize::from(negated);
            self.keyword("NULL")?;
            return Ok(Test::Null { is_null: !negated });
        }
        let negated = self.is_keyword("NOT");
        self.next += usize::from(negated);
        if self.is_keyword("IN") {
            self.next += 1;
            return Ok(Test::In { texts: self.list()?, negated });
        }
        if negated {
            return self.fail("expected IN after NOT");
        }
        if self.is_keyword("LIKE") || self.is_keyword("ILIKE") {
            let fold_case = self.is_keyword("ILIKE");
            self.next += 1;
            return match self.value(kind)? {
                Literal::Text(pattern) => Ok(Test::Like { pattern, fold_case }),
                Literal::Number(_) => Err(error_at(self.text, at, "LIKE needs a quoted pattern")),
            };
        }
        if regex && self.is_keyword("RLIKE") {
            self.next += 1;
            return self.pattern();
        }
        let Some(TokenKind::Operator(operator)) = self.take() else {
            return Err(error_at(self.text, at, "expected a comparison operator"));
        };
        let ordered = !matches!(operator, "=" | "!=");
        let value = match self.value(kind)? {
            // A number may be quoted where both may stand.
            Literal::Text(text) if kind == Kind::Mixed && ordered => {
                text.parse().map_or(Literal::Text(text), Literal::Number)
            }
            value => value,
        };
        if matches!(value, Literal::Text(_)) && ordered && kind == Kind::Mixed {
            return Err(error_at(self.text, at, &format!("Expected a numeric value for {group}")));
        }
        if matches!(value, Literal::Text(_)) && ordered {
            return Err(error_at(self.text, at, "Invalid comparator for text; use =, !=, LIKE or ILIKE"));
        }
        Ok(Test::Compare(operator, value))
    }

    fn pattern(&mut self) -> Result<Test> {
        let at = self.at();
        let Some(TokenKind::Text(text)) = self.take() else {
            return Err(error_at(self.text, at, "RLIKE needs a quoted regular expression"));
        };
        let compiled = RegexBuilder::new(&text).size_limit(PATTERN_BYTES_MAX).build();
        let wrong = |error: regex::Error| {
            // Its last line says what is wrong; the others draw the place.
            let why = error.to_string().lines().last().unwrap_or_default().to_owned();
            error_at(self.text, at, &format!("not a regular expression: {why}"))
        };
        compiled.map(|regex| Test::Matches(Pattern(regex))).map_err(wrong)
    }

    fn value(&mut self, kind: Kind) -> Result<Literal> {
        let at = self.at();
        match (self.take(), kind) {
            (Some(TokenKind::Number(value)), Kind::Number | Kind::Mixed) => Ok(Literal::Number(value)),
            (Some(TokenKind::Text(text)), Kind::Text | Kind::Mixed) => Ok(Literal::Text(text)),
            (Some(TokenKind::Word(word)), Kind::Mixed) if matches!(word.as_str(), "true" | "false") => {
                Ok(Literal::Text(word))
            }
            (_, Kind::Number) => Err(error_at(self.text, at, "expected a number")),
            (_, Kind::Text) => Err(error_at(self.text, at, "expected a quoted string value")),
            (_, Kind::Mixed) => Err(error_at(self.text, at, "expected a number or a quoted string value")),
        }
    }

    fn list(&mut self) -> Result<Vec<String>> {
        if self.take() != Some(TokenKind::Open) {
            self.next = self.next.saturating_sub(1);
            return self.fail("expected a list in parentheses");
        }
        let mut texts = Vec::new();
        loop {
            let Literal::Text(text) = self.value(Kind::Text)? else {
                return self.fail("expected a quoted string value");
            };
            texts.push(text);
            let comma = self.take();
            if comma == Some(TokenKind::Close) {
                return Ok(texts);
            }
            if comma != Some(TokenKind::Comma) {
                return self.fail("expected a comma or a closing parenthesis");
            }
            // As Python writes a list of one.
            if matches!(self.tokens.get(self.next), Some(Token { kind: TokenKind::Close, .. })) {
                self.next += 1;
                return Ok(texts);
            }
        }
    }
}

fn holds(test: &Test, value: &Operand) -> bool {
    match (test, value) {
        (Test::Null { is_null }, value) => (*value == Operand::Missing) == *is_null,
        (_, Operand::Missing) => false,
        (test, Operand::Texts(texts)) => texts.iter().any(|text| holds(test, &Operand::Text(text.clone()))),
        (test, Operand::Numbers(numbers)) => numbers.iter().any(|number| holds(test, &Operand::Number(*number))),
        (Test::Compare(operator, Literal::Number(right)), Operand::Number(left)) => {
            compare_numbers(operator, *left, *right)
        }
        // Only values of mixed groups are text that is compared with a number.
        (Test::Compare(operator, Literal::Number(right)), Operand::Text(left)) => {
            left.parse().is_ok_and(|left| compare_numbers(operator, left, *right))
        }
        (Test::Matches(Pattern(regex)), Operand::Text(text)) => regex.is_match(text),
        (Test::Compare(operator, Literal::Text(right)), Operand::Text(left)) => (left == right) == (*operator == "="),
        (Test::Like { pattern, fold_case: false }, Operand::Text(text)) => like(pattern, text),
        (Test::Like { pattern, fold_case: true }, Operand::Text(text)) => {
            like(&pattern.to_lowercase(), &text.to_lowercase())
        }
        (Test::In { texts, negated }, Operand::Text(text)) => texts.contains(text) != *negated,
        _ => false,
    }
}

fn compare_numbers(operator: &str, left: f64, right: f64) -> bool {
    match operator {
        "=" => left == right,
        "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        _ => left >= right,
    }
}

/// SQL's LIKE: `%` is any run of characters, `_` one character. Linear in the text for each `%`, by remembering
/// the last one only.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('%') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '_' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, from)) = retry else { return false };
                (p, t, retry) = (after, from + 1, Some((after, from + 1)));
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == '%')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Run;

    impl Fields for Run {
        const GROUPS: &'static [(&'static str, &'static str)] = &[("metrics", "metric"), ("tags", "tag")];
        const ATTRIBUTES: &'static [(&'static str, bool)] = &[("run_id", false), ("start_time", true)];
        const LISTED: &'static [&'static str] = &["run_id"];
        const NULLABLE: &'static [&'static str] = &["tags"];
        fn field(&self, group: &str, key: &str) -> Operand {
            match (group, key) {
                ("metrics", "auc") => Operand::Number(0.9),
                ("tags", "team") => Operand::Text("Risk".into()),
                ("attributes", "run_id") => Operand::Text("r1".into()),
                ("attributes", "start_time") => Operand::Number(5.0),
                _ => Operand::Missing,
            }
        }
    }

    #[test]
    fn clauses_hold_as_the_grammar_says() {
        let admits = |text: &str| Filter::parse::<Run>(text).unwrap().admits(&Run);
        for text in [
            "",
            "metrics.auc > 0.5",
            "metric.auc = 0.9 and tag.team = 'Risk'",
            "run_id IN ('r1', 'r2')",
            "run_id IN ('r1',)",
            "tags.x IS NULL",
            "tags.team LIKE 'R%k'",
            "tags.team ilike '_ISK'",
            "attributes.start_time <= 5",
            "run_id NOT IN ('z')",
            "tags.team IS NOT NULL",
        ] {
            assert!(admits(text), "{text}");
        }
        for text in ["metrics.loss != 1", "tags.x != 'a'", "tags.team LIKE 'r%'", "metrics.auc < 0.9", "run_id = 'r'"] {
            assert!(!admits(text), "{text}");
        }
    }

    #[test]
    fn wrong_filters_are_refused_at_their_place() {
        for (text, at) in [
            ("metrics.auc <", 13),
            ("metrics.auc > 'x'", 14),
            ("foo.bar = 1", 0),
            ("nope = 'a'", 0),
            ("run_id = 5", 9),
            ("run_id = 'a' OR run_id = 'b'", 13),
            ("tags.team > 'a'", 10),
            ("run_id IN ()", 11),
            ("run_id IN (,)", 11),
            ("run_id IN ('a',,)", 15),
            ("metrics. > 1", 0),
        ] {
            let error = Filter::parse::<Run>(text).unwrap_err();
            assert!(error.message().contains(&format!("position {at},")), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,60}") {
            let _ = Filter::parse::<Run>(&text).map(|filter| filter.admits(&Run));
        }
    }
}
