//! What stands before binary tensors, read in one pass where it is as plain as nearly all clients write it.
//!
//! Invariant: what is read here serde reads too, and the same; it reads everything else: texts with escapes, fields that
//! are unknown or null, values in JSON.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    parameters::Parameters,
    wire::{InferRequest, RequestInput, RequestOutput},
};

/// The request; none where it is less plain, or none at all.
pub(super) fn read(text: &str) -> Option<InferRequest<'_>> {
    let mut rest = Rest { text, at: 0 };
    let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
    rest.object(|rest, field| match field {
        "id" => put(&mut id, rest.string()?.to_owned()),
        "parameters" => put(&mut parameters, rest.parameters()?),
        "inputs" => put(&mut inputs, rest.list(Rest::input)?),
        "outputs" => put(&mut outputs, rest.list(Rest::output)?),
        _ => None,
    })?;
    rest.next().is_none().then_some(InferRequest { id, parameters, inputs: inputs?, outputs })
}

/// Sets what was not set before.
fn put<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// What has not been read of a text.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    /// The first byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes().get(self.at..)?;
        let blank = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.at += blank;
        bytes.get(blank).copied()
    }

    /// Takes the next byte if it is this one.
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    /// A text without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let (string, _) = self.text.get(self.at..)?.split_once('"')?;
        self.at += string.len() + 1;
        let is_plain = string.bytes().all(|byte| byte >= b' ' && byte != b'\\');
        is_plain.then_some(string)
    }

    /// A whole number that is not negative.
    fn whole(&mut self) -> Option<u64> {
        self.next()?;
        let digits = self.text.get(self.at..)?;
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, behind) = digits.split_at_checked(length)?;
        let is_plain = digits == "0" || !digits.starts_with('0');
        self.at += length;
        (is_plain && !behind.starts_with(['.', 'e', 'E'])).then(|| digits.parse().ok())?
    }

    fn value(&mut self) -> Option<Value> {
        match self.next()? {
            b't' => self.word("true").map(|()| Value::Bool(true)),
            b'f' => self.word("false").map(|()| Value::Bool(false)),
            b'"' => self.string().map(Value::from),
            _ => self.whole().map(Value::from),
        }
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.take(b'[')?;
        let mut items = Vec::new();
        if self.take(b']').is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if self.take(b',').is_none() {
                return self.take(b']').map(|()| items);
            }
        }
    }

    /// Gives the name of each field to `field`, which reads its value.
    fn object(&mut self, mut field: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.take(b':')?;
            field(self, name)?;
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    fn parameters(&mut self) -> Option<Parameters<'a>> {
        let mut parameters = Parameters::default();
        self.object(|rest, name| {
            parameters.push(name, rest.value()?);
            Some(())
        })?;
        Some(parameters)
    }

    fn input(&mut self) -> Option<RequestInput<'a>> {
        let (mut name, mut shape, mut datatype, mut parameters) = (None, None, None, None);
        self.object(|rest, field| match field {
            "name" => put(&mut name, rest.string()?),
            "shape" => put(&mut shape, rest.list(Self::whole)?),
            "datatype" => put(&mut datatype, rest.string()?),
            "parameters" => put(&mut parameters, rest.parameters()?),
            _ => None,
        })?;
        let (name, datatype) = (Cow::Borrowed(name?), Cow::Borrowed(datatype?));
        Some(RequestInput { name, shape: shape?, datatype, parameters, data: None })
    }

    fn output(&mut self) -> Option<RequestOutput<'a>> {
        let (mut name, mut parameters) = (None, None);
        self.object(|rest, field| match field {
            "name" => put(&mut name, rest.string()?),
            "parameters" => put(&mut parameters, rest.parameters()?),
            _ => None,
        })?;
        Some(RequestOutput { name: Cow::Borrowed(name?), parameters })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether a head is plain; what is read of it must be what serde reads.
    fn check(head: &str) -> bool {
        let plain = read(head);
        if let Some(plain) = &plain {
            let thorough: InferRequest<'_> =
                serde_json::from_str(head).unwrap_or_else(|error| panic!("{head}: {error}"));
            assert_eq!(format!("{plain:?}"), format!("{thorough:?}"), "{head}");
        }
        plain.is_some()
    }

    const INPUT: &str = r#"{"name":"X","shape":[1,30],"datatype":"FP32","parameters":{"binary_data_size":120}}"#;

    #[test]
    fn what_clients_write_is_plain() {
        for head in [
            format!(r#"{{"inputs":[{INPUT}],"parameters":{{"binary_data_output":true}}}}"#),
            format!(r#"{{"id":"7","inputs":[{INPUT},{INPUT}],"outputs":[{{"name":"Y","parameters":{{"binary_data":false}}}}]}}"#),
            format!("{{ \"inputs\" : [ {INPUT} ] ,\r\n\t\"outputs\": [ ] }} "),
            r#"{"inputs":[{"name":"é","shape":[],"datatype":"","parameters":{}}],"parameters":{"priority":18446744073709551615}}"#.to_owned(),
        ] {
            assert!(check(&head), "{head}");
        }
    }

    #[test]
    fn everything_else_is_left_to_serde() {
        for (from, to) in [
            ("\"X\"", r#""\u0058""#),
            ("\"X\"", "\"X\n\""),
            ("\"X\"", "null"),
            ("[1,30]", "[01,30]"),
            ("[1,30]", "[1.0,30]"),
            ("[1,30]", "[1e0,30]"),
            ("[1,30]", "[-1,30]"),
            ("[1,30]", "[1,30,]"),
            ("[1,30]", "[18446744073709551616]"),
            ("[1,30]", "[1 30]"),
            ("120", "-120"),
            ("120", "null"),
            ("120", "truee"),
            ("120", "[1]"),
            ("\"shape\"", "\"shapes\""),
            ("\"shape\"", "\"name\""),
            ("\"datatype\"", "\"data\""),
            ("}]", "},]"),
            ("\"inputs\"", "\"outputs\""),
            ("{\"inputs", "{,\"inputs"),
        ] {
            let head = format!(r#"{{"inputs":[{INPUT}]}}"#).replacen(from, to, 1);
            assert!(!check(&head), "{head}");
        }
        for head in ["", "{", "[]", "{}", "{\"inputs\":[]} x", "{\"inputs\":[]}}"] {
            assert!(!check(head), "{head}");
        }
    }

    proptest! {
        #[test]
        fn any_damage_is_read_as_serde_reads_it(at in 0_usize..200, text in "[\\[\\]{}:,\"a-z0-9 \\\\.-]{0,2}", gone in 0_usize..3) {
            let mut head = format!(r#"{{"inputs":[{INPUT}],"parameters":{{"binary_data_output":true}}}}"#);
            let from = at.min(head.len());
            let to = (from + gone).min(head.len());
            head.replace_range(from..to, &text);
            check(&head);
        }
    }
}
