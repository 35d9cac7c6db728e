//! GraphQL's query language, as far as pages that read use it: operations with variables, fragments, aliases, arguments
//! and directives; no types and no subscriptions (GraphQL specification, October 2021, sections 2.1 to 2.12).
//!
//! Invariant: neither length nor nesting of a query takes more than the bounds here.

use std::collections::{BTreeMap, btree_map::Entry};

use mlops_core::{Error, Result};
use serde_json::{Map, Value};

/// Longest query, in bytes.
const QUERY_BYTES_MAX: usize = 256 << 10;
/// Most operations of one query; one of them is carried out.
const OPERATIONS_MAX: usize = 100;
/// How deep anything may be nested.
const NESTING_MAX: usize = 64;

/// A query as it was written.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) operations: Vec<Operation>,
    pub(super) fragments: BTreeMap<String, Vec<Selection>>,
    /// How often variables stand in arguments.
    pub(super) variable_uses: usize,
}

#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: Option<String>,
    pub(super) mutation: bool,
    /// The variables, as they are when nobody gives them.
    pub(super) variables: Map<String, Value>,
    pub(super) selections: Vec<Selection>,
}

#[derive(Debug)]
pub(super) enum Selection {
    Field(Field),
    Inline(Vec<Selection>, Vec<Directive>),
    Spread(String, Vec<Directive>),
}

impl Selection {
    pub(super) fn directives(&self) -> &[Directive] {
        match self {
            Self::Field(field) => &field.directives,
            Self::Inline(_, directives) | Self::Spread(_, directives) => directives,
        }
    }
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) alias: Option<String>,
    pub(super) name: String,
    pub(super) arguments: BTreeMap<String, Input>,
    pub(super) directives: Vec<Directive>,
    pub(super) selections: Vec<Selection>,
}

#[derive(Debug)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) arguments: BTreeMap<String, Input>,
}

/// A value of an argument.
#[derive(Debug)]
pub(super) enum Input {
    Plain(Value),
    Variable(String),
    List(Vec<Input>),
    Object(BTreeMap<String, Input>),
}

impl Input {
    /// The value with its variables.
    ///
    /// # Errors
    /// `InvalidArgument` for a variable that the operation does not declare.
    pub(super) fn value(&self, variables: &Map<String, Value>) -> Result<Value> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Variable(name) => variable(name, variables)?.clone(),
            Self::List(inputs) => inputs.iter().map(|input| input.value(variables)).collect::<Result<_>>()?,
            Self::Object(fields) => {
                let fields = fields.iter().map(|(name, input)| Ok((name.clone(), input.value(variables)?)));
                Value::Object(fields.collect::<Result<_>>()?)
            }
        })
    }

    /// The value as a truth value, if it is one.
    ///
    /// # Errors
    /// As [`Input::value`].
    pub(super) fn flag(&self, variables: &Map<String, Value>) -> Result<Option<bool>> {
        Ok(match self {
            Self::Plain(value) => value.as_bool(),
            Self::Variable(name) => variable(name, variables)?.as_bool(),
            Self::List(_) | Self::Object(_) => None,
        })
    }
}

fn variable<'a>(name: &str, variables: &'a Map<String, Value>) -> Result<&'a Value> {
    variables.get(name).ok_or_else(|| Error::invalid_argument(format!("Variable '${name}' is not defined.")))
}

/// Keeps what has a name of its own.
fn keep_once<T>(known: &mut BTreeMap<String, T>, what: &str, name: String, value: T) -> Result<()> {
    match known.entry(name) {
        Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
        Entry::Occupied(place) => only_one(what, place.key()),
    }
}

fn only_one(what: &str, name: &str) -> Result<()> {
    Err(Error::invalid_argument(format!("There can be only one {what} named '{name}'.")))
}

/// Reads a query.
///
/// # Errors
/// `InvalidArgument` saying where the query is none.
pub(super) fn parse(query: &str) -> Result<Document> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(Error::invalid_argument(format!("Syntax Error: the query has more than {QUERY_BYTES_MAX} bytes")));
    }
    let mut parser = Parser { query, at: 0, depth: 0, variable_uses: 0 };
    let mut document = Document::default();
    parser.skip();
    while parser.at < query.len() {
        match parser.peek_name() {
            Some("fragment") => {
                let (name, selections) = parser.fragment()?;
                keep_once(&mut document.fragments, "fragment", name, selections)?;
            }
            _ => {
                let operation = parser.operation()?;
                if let Some(name) = &operation.name
                    && document.operations.iter().any(|known| known.name.as_ref() == Some(name))
                {
                    only_one("operation", name)?;
                }
                document.operations.push(operation);
            }
        }
        // Also keeps the search for the name short.
        if document.operations.len() > OPERATIONS_MAX {
            return Err(Error::invalid_argument(format!("Query has more than {OPERATIONS_MAX} operations")));
        }
    }
    Ok(Document { variable_uses: parser.variable_uses, ..document })
}

struct Parser<'a> {
    query: &'a str,
    /// The next byte that says something.
    at: usize,
    depth: usize,
    variable_uses: usize,
}

impl<'a> Parser<'a> {
    fn wrong<T>(&self, expected: &str) -> Result<T> {
        let found: String = self.query[self.at..].chars().take(20).collect();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("{found:?}") };
        Err(Error::invalid_argument(format!("Syntax Error: expected {expected}, found {found} at byte {}", self.at)))
    }

    /// Goes on to the next byte that says something.
    fn skip(&mut self) {
        loop {
            let rest = &self.query[self.at..];
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', ',', '\u{feff}']).len();
            self.at += blank;
            if !self.query[self.at..].starts_with('#') {
                return;
            }
            self.at = self.query[self.at..].find('\n').map_or(self.query.len(), |end| self.at + end);
        }
    }

    fn eat(&mut self, mark: &str) -> bool {
        let found = self.query[self.at..].starts_with(mark);
        if found {
            self.at += mark.len();
            self.skip();
        }
        found
    }

    fn expect(&mut self, mark: &str) -> Result<()> {
        if self.eat(mark) { Ok(()) } else { self.wrong(&format!("{mark:?}")) }
    }

    fn peek_name(&self) -> Option<&'a str> {
        let rest = &self.query[self.at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        Some(&rest[..end]).filter(|name| name.bytes().next().is_some_and(|first| !first.is_ascii_digit()))
    }

    fn name(&mut self) -> Result<String> {
        let Some(name) = self.peek_name() else { return self.wrong("a name") };
        self.at += name.len();
        self.skip();
        Ok(name.to_owned())
    }

    /// What is one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= NESTING_MAX {
            return self.wrong(&format!("at most {NESTING_MAX} levels"));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn operation(&mut self) -> Result<Operation> {
        let (mut name, mut mutation, mut variables) = (None, false, Map::new());
        if !self.query[self.at..].starts_with('{') {
            mutation = match self.name()?.as_str() {
                "query" => false,
                "mutation" => true,
                _ => return self.wrong("query, mutation or fragment before"),
            };
            name = self.peek_name().map(str::to_owned);
            if name.is_some() {
                self.name()?;
            }
            if self.eat("(") {
                while !self.eat(")") {
                    self.variable(&mut variables)?;
                }
            }
            self.directives()?;
        }
        Ok(Operation { name, mutation, variables, selections: self.selections()? })
    }

    /// `$name: Type = default`. The type is the business of whoever reads the argument.
    fn variable(&mut self, variables: &mut Map<String, Value>) -> Result<()> {
        self.expect("$")?;
        let name = self.name()?;
        self.expect(":")?;
        self.kind()?;
        let default = if self.eat("=") { self.input()?.value(&Map::new())? } else { Value::Null };
        if variables.contains_key(&name) {
            only_one("variable", &name)?;
        }
        variables.insert(name, default);
        self.directives().map(drop)
    }

    fn kind(&mut self) -> Result<()> {
        if self.eat("[") {
            self.nested(Self::kind)?;
            self.expect("]")?;
        } else {
            self.name()?;
        }
        self.eat("!");
        Ok(())
    }

    fn fragment(&mut self) -> Result<(String, Vec<Selection>)> {
        self.name()?;
        let name = self.name()?;
        self.type_condition()?;
        self.directives()?;
        Ok((name, self.selections()?))
    }

    /// `on Type`. No type here has several forms, so it decides nothing.
    fn type_condition(&mut self) -> Result<()> {
        match self.name()?.as_str() {
            "on" => self.name().map(drop),
            _ => self.wrong("on before"),
        }
    }

    fn selections(&mut self) -> Result<Vec<Selection>> {
        self.nested(|parser| {
            parser.expect("{")?;
            let mut selections = Vec::new();
            while !parser.eat("}") {
                selections.push(parser.selection()?);
            }
            if selections.is_empty() { parser.wrong("a field before") } else { Ok(selections) }
        })
    }

    fn selection(&mut self) -> Result<Selection> {
        if !self.eat("...") {
            return self.field().map(Selection::Field);
        }
        match self.peek_name() {
            Some("on") => self.type_condition()?,
            Some(_) => {
                let name = self.name()?;
                return Ok(Selection::Spread(name, self.directives()?));
            }
            None => {}
        }
        let directives = self.directives()?;
        Ok(Selection::Inline(self.selections()?, directives))
    }

    fn field(&mut self) -> Result<Field> {
        let (mut alias, mut name) = (None, self.name()?);
        if self.eat(":") {
            alias = Some(std::mem::replace(&mut name, self.name()?));
        }
        let arguments = self.arguments()?;
        let directives = self.directives()?;
        let inner = self.query[self.at..].starts_with('{');
        let selections = if inner { self.selections()? } else { Vec::new() };
        Ok(Field { alias, name, arguments, directives, selections })
    }

    fn arguments(&mut self) -> Result<BTreeMap<String, Input>> {
        let mut arguments = BTreeMap::new();
        if self.eat("(") {
            while !self.eat(")") {
                let name = self.name()?;
                self.expect(":")?;
                keep_once(&mut arguments, "argument", name, self.input()?)?;
            }
        }
        Ok(arguments)
    }

    fn directives(&mut self) -> Result<Vec<Directive>> {
        let mut directives = Vec::new();
        while self.eat("@") {
            directives.push(Directive { name: self.name()?, arguments: self.arguments()? });
        }
        Ok(directives)
    }

    fn input(&mut self) -> Result<Input> {
        if self.eat("$") {
            self.variable_uses += 1;
            return self.name().map(Input::Variable);
        }
        if self.eat("[") {
            return self.nested(|parser| {
                let mut inputs = Vec::new();
                while !parser.eat("]") {
                    inputs.push(parser.input()?);
                }
                Ok(Input::List(inputs))
            });
        }
        if self.eat("{") {
            return self.nested(|parser| {
                let mut fields = BTreeMap::new();
                while !parser.eat("}") {
                    let name = parser.name()?;
                    parser.expect(":")?;
                    keep_once(&mut fields, "input field", name, parser.input()?)?;
                }
                Ok(Input::Object(fields))
            });
        }
        if self.query[self.at..].starts_with('"') {
            return self.text().map(|text| Input::Plain(Value::String(text)));
        }
        if let Some(word) = self.peek_name() {
            self.name()?;
            // A name is one of an enumeration.
            let plain = match word {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                name => Value::String(name.to_owned()),
            };
            return Ok(Input::Plain(plain));
        }
        self.number()
    }

    /// Numbers are JSON's.
    fn number(&mut self) -> Result<Input> {
        let rest = &self.query[self.at..];
        let part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        match serde_json::from_str::<serde_json::Number>(&rest[..end]) {
            Ok(number) => {
                self.at += end;
                self.skip();
                Ok(Input::Plain(Value::Number(number)))
            }
            Err(_) => self.wrong("a value"),
        }
    }

    /// A text on one line, whose escapes are JSON's, or a block of text.
    fn text(&mut self) -> Result<String> {
        let rest = &self.query[self.at..];
        if let Some(block) = rest.strip_prefix("\"\"\"") {
            let ends = |at: &usize| !block[..*at].ends_with('\\');
            let end = block.match_indices("\"\"\"").map(|(at, _)| at).find(ends);
            let Some(end) = end else { return self.wrong("the end of a text in") };
            self.at += end + 6;
            self.skip();
            return Ok(block[..end].trim().replace("\\\"\"\"", "\"\"\""));
        }
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, letter)| {
            let ends = *letter == '"' && !escaped;
            escaped = *letter == '\\' && !escaped;
            ends
        });
        let text = end.and_then(|(end, _)| Some((end, serde_json::from_str(&rest[..=end]).ok()?)));
        let Some((end, text)) = text else { return self.wrong("a text on one line in") };
        self.at += end + 1;
        self.skip();
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_query_is_read_with_all_its_parts() {
        let document = parse(
            r#"query q($id: [String!]! = ["0"]) @component(name: "Test") { # a comment
                a: one(input: {ids: $id, n: -1.5, view: ALL, t: "\"é\n",}) { x ...f ... on T @skip(if: true) { y } }
            } fragment f on T { z }"#,
        )
        .unwrap();
        let operation = &document.operations[0];
        assert_eq!((operation.name.as_deref(), operation.mutation), (Some("q"), false));
        let Selection::Field(field) = &operation.selections[0] else { panic!("a field") };
        assert_eq!((field.alias.as_deref(), field.name.as_str()), (Some("a"), "one"));
        let value = field.arguments["input"].value(&operation.variables).unwrap();
        assert_eq!(value, json!({ "ids": ["0"], "n": -1.5, "view": "ALL", "t": "\"é\n" }));
        assert!(matches!(&field.selections[..], [_, Selection::Spread(..), Selection::Inline(..)]));
        assert!(document.fragments.contains_key("f"));
        let short = parse("mutation { a }").unwrap();
        assert!(short.operations[0].mutation && parse("{ a }").unwrap().operations.len() == 1);
    }

    #[test]
    fn a_block_of_text_holds_quotes() {
        let document = parse(r#"{ a(t: """ x \""" "y" """) }"#).unwrap();
        let Selection::Field(field) = &document.operations[0].selections[0] else { panic!("a field") };
        assert_eq!(field.arguments["t"].value(&Map::new()).unwrap(), json!(r#"x """ "y""#));
        assert!(parse(r#"{ a(t: """ x \""") }"#).is_err(), "it does not end");
    }

    #[test]
    fn what_has_a_name_has_it_alone() {
        for (query, message) in [
            ("{ a } fragment f on T { a } fragment f on T { b }", "There can be only one fragment named 'f'."),
            ("{ a(b: 1, b: 2) }", "There can be only one argument named 'b'."),
            ("{ a(b: { c: 1, c: 2 }) }", "There can be only one input field named 'c'."),
            ("query q { a } query q { b }", "There can be only one operation named 'q'."),
            ("query q($x: T, $x: T) { a }", "There can be only one variable named 'x'."),
            ("query q($x: T = $y) { a }", "Variable '$y' is not defined."),
        ] {
            assert_eq!(parse(query).unwrap_err().message(), message);
        }
    }

    #[test]
    fn what_is_no_query_is_refused_with_its_place() {
        let deep = format!("{}a{}", "{ a ".repeat(100), "}".repeat(100));
        for bad in ["{", "{ }", "query {", "{ a(b: }", "{ a(b: \"x) }", "subscription { a }", "{ a } x", &deep] {
            let message = parse(bad).unwrap_err().message().to_owned();
            assert!(message.starts_with("Syntax Error: expected "), "{bad}: {message}");
        }
        assert!(parse(&" ".repeat(QUERY_BYTES_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}", near in "[ {}()$:@a\"\\.\\[\\]!,#0-9é\n]{0,60}") {
            for text in [text, near] {
                drop(parse(&text));
            }
        }
    }
}
