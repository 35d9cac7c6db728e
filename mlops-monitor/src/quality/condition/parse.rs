//! The text form of a condition: a tokenizer and a recursive descent with bounded depth.

use mlops_core::{Error, Result};

use super::{CONDITION_BYTES_MAX, CONDITION_DEPTH_MAX, Comparison, Condition};
use crate::quality::value::SetValue;

const KEYWORDS: [&str; 8] = ["and", "or", "not", "in", "is", "null", "true", "false"];

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A bare word: a keyword or a plain column name.
    Word(String),
    /// A column name in double quotes.
    Quoted(String),
    Literal(SetValue),
    Comparison(Comparison),
    Open,
    Close,
    Comma,
}

/// Whether a column name needs no quotes.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(is_word)
        && !KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(name))
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '.'
}

pub(super) fn condition(text: &str) -> Result<Condition> {
    if text.len() > CONDITION_BYTES_MAX {
        let length = text.len();
        return Err(Error::invalid_argument(format!(
            "condition has {length} bytes, at most {CONDITION_BYTES_MAX} are read"
        )));
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let condition = parser.disjunction()?;
    match parser.peek() {
        None => Ok(condition),
        Some(_) => Err(parser.fault("\"and\", \"or\" or the end")),
    }
}

fn fault(position: usize, what: &str) -> Error {
    Error::invalid_argument(format!("condition at byte {position}: {what}"))
}

/// Tokens with the byte at which each starts.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let position = text.len() - rest.len();
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '\'' | '"' => quoted(rest, first).ok_or_else(|| fault(position, "a quote that is not closed"))?,
            '=' | '!' | '<' | '>' => comparison(rest),
            '-' | '+' | '0'..='9' => number(rest).map_err(|what| fault(position, &what))?,
            _ if is_word(first) => word(rest),
            _ => return Err(fault(position, &format!("no comparison, column or literal starts with {first:?}"))),
        };
        tokens.push((position, token));
        rest = rest.get(length..).unwrap_or("").trim_start();
    }
    Ok(tokens)
}

/// Text between quotes, a doubled quote standing for itself; and its length with the quotes.
fn quoted(rest: &str, quote: char) -> Option<(Token, usize)> {
    let mut content = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((index, character)) = characters.next() {
        if character != quote {
            content.push(character);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            content.push(quote);
        } else {
            let token = if quote == '"' { Token::Quoted(content) } else { Token::Literal(SetValue::Text(content)) };
            return Some((token, index + 1));
        }
    }
    None
}

fn comparison(rest: &str) -> (Token, usize) {
    let table = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<>", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let found = table.into_iter().find(|(text, _)| rest.starts_with(text));
    let (text, comparison) = found.unwrap_or(("=", Comparison::Equal));
    (Token::Comparison(comparison), text.len())
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let mut before = ' ';
    let belongs = |character: &char| {
        let sign = matches!(character, '-' | '+') && matches!(before, ' ' | 'e' | 'E');
        before = *character;
        sign || is_word(*character)
    };
    let length: usize = rest.chars().take_while(belongs).map(char::len_utf8).sum();
    let text = rest.get(..length).unwrap_or("");
    let unreadable = || format!("{text:?} is no number that fits");
    let value = if text.contains(['.', 'e', 'E']) {
        SetValue::Float(text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(unreadable)?)
    } else {
        SetValue::Integer(text.parse().map_err(|_| unreadable())?)
    };
    Ok((Token::Literal(value), length))
}

fn word(rest: &str) -> (Token, usize) {
    let length = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
    let word = rest.get(..length).unwrap_or("");
    let token = match word.to_ascii_lowercase().as_str() {
        "true" => Token::Literal(SetValue::Bool(true)),
        "false" => Token::Literal(SetValue::Bool(false)),
        _ => Token::Word(word.to_owned()),
    };
    (token, length)
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word));
        self.next += usize::from(found);
        found
    }

    fn fault(&self, expected: &str) -> Error {
        match self.tokens.get(self.next) {
            Some((position, _)) => fault(*position, &format!("expected {expected}")),
            None => Error::invalid_argument(format!("condition ends where {expected} was expected")),
        }
    }

    fn disjunction(&mut self) -> Result<Condition> {
        let first = self.conjunction()?;
        let mut parts = vec![first];
        while self.take_word("or") {
            parts.push(self.conjunction()?);
        }
        Ok(joined(parts, Condition::Or))
    }

    fn conjunction(&mut self) -> Result<Condition> {
        let first = self.term()?;
        let mut parts = vec![first];
        while self.take_word("and") {
            parts.push(self.term()?);
        }
        Ok(joined(parts, Condition::And))
    }

    fn term(&mut self) -> Result<Condition> {
        if self.depth >= CONDITION_DEPTH_MAX {
            return Err(Error::invalid_argument(format!("condition is nested more than {CONDITION_DEPTH_MAX} deep")));
        }
        self.depth += 1;
        let term = if self.take_word("not") {
            self.term().map(|inner| Condition::Not(Box::new(inner)))
        } else if self.take(&Token::Open) {
            let inner = self.disjunction()?;
            if self.take(&Token::Close) { Ok(inner) } else { Err(self.fault("\")\"")) }
        } else {
            self.test()
        };
        self.depth -= 1;
        term
    }

    fn test(&mut self) -> Result<Condition> {
        let column = self.column()?;
        if self.take_word("is") {
            let negated = self.take_word("not");
            if !self.take_word("null") {
                return Err(self.fault("\"null\""));
            }
            return Ok(negate(Condition::IsNull { column }, negated));
        }
        let negated = self.take_word("not");
        if self.take_word("in") {
            return Ok(negate(Condition::In { column, values: self.literals()? }, negated));
        }
        match self.peek() {
            Some(Token::Comparison(comparison)) if !negated => {
                let comparison = *comparison;
                self.next += 1;
                Ok(Condition::Compare { column, comparison, value: self.literal()? })
            }
            _ => Err(self.fault("a comparison, \"in\" or \"is\"")),
        }
    }

    fn column(&mut self) -> Result<String> {
        let name = match self.peek() {
            Some(Token::Word(name)) if is_plain_name(name) => name.clone(),
            Some(Token::Quoted(name)) => name.clone(),
            _ => return Err(self.fault("a column")),
        };
        self.next += 1;
        Ok(name)
    }

    fn literals(&mut self) -> Result<Vec<SetValue>> {
        if !self.take(&Token::Open) {
            return Err(self.fault("\"(\""));
        }
        let mut literals = vec![self.literal()?];
        while self.take(&Token::Comma) {
            literals.push(self.literal()?);
        }
        if self.take(&Token::Close) { Ok(literals) } else { Err(self.fault("\",\" or \")\"")) }
    }

    fn literal(&mut self) -> Result<SetValue> {
        let Some(Token::Literal(value)) = self.peek() else { return Err(self.fault("a literal")) };
        let value = value.clone();
        self.next += 1;
        Ok(value)
    }
}

fn negate(condition: Condition, negated: bool) -> Condition {
    if negated { Condition::Not(Box::new(condition)) } else { condition }
}

fn joined(mut parts: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}
