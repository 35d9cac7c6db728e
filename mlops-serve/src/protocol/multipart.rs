//! `multipart/form-data` by RFC 7578: the named parts of a form.
//!
//! Invariant: values are slices of the body, so that nothing is copied, and there are at most [`PARTS_MAX`] of them.

use std::borrow::Cow;

use mlops_core::{Error, Result};

use super::Field;

/// Most parts of one form.
const PARTS_MAX: usize = 1_024;
/// Longest boundary, by RFC 2046.
const BOUNDARY_MAX: usize = 70;

/// The boundary that a content type names.
///
/// # Errors
/// `InvalidArgument` when it names none that may be one.
pub(crate) fn boundary(content_type: &str) -> Result<String> {
    let boundary = parameter(content_type, "boundary");
    boundary.filter(|text| (1..=BOUNDARY_MAX).contains(&text.len())).map(Cow::into_owned).ok_or_else(|| {
        Error::invalid_argument(format!("multipart/form-data must name a boundary of 1 to {BOUNDARY_MAX} bytes"))
    })
}

/// The parts between the boundaries, in order.
///
/// # Errors
/// `InvalidArgument` for a body that is cut off, has a part without a name, or too many parts.
pub(crate) fn parts<'a>(boundary: &str, body: &'a [u8]) -> Result<Vec<Field<'a>>> {
    let bad = |what: &str| Error::invalid_argument(format!("the form {what}"));
    let delimiter = format!("\r\n--{boundary}");
    let first = delimiter.get(2..).unwrap_or_default().as_bytes();
    let mut rest = match body.strip_prefix(first) {
        Some(rest) => rest,
        None => split(body, delimiter.as_bytes()).ok_or_else(|| bad("does not begin with its boundary"))?.1,
    };
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        if parts.len() == PARTS_MAX {
            return Err(bad(&format!("has more than {PARTS_MAX} parts")));
        }
        // Its end stays, so that a part without headers is told by two in a row.
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let part = rest.get(padding..).filter(|part| part.starts_with(b"\r\n"));
        let part = part.ok_or_else(|| bad("has more than a boundary on its line"))?;
        let (head, body) = split(part, b"\r\n\r\n").ok_or_else(|| bad("ends in the headers of a part"))?;
        let (value, behind) = split(body, delimiter.as_bytes()).ok_or_else(|| bad("ends inside a part"))?;
        let name = name_of(head).ok_or_else(|| bad(&format!("has no name for part {}", parts.len() + 1)))?;
        parts.push(Field { name: Cow::Owned(name), value });
        rest = behind;
    }
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = bytes.windows(at.len()).position(|window| window == at)?;
    Some((bytes.get(..place)?, bytes.get(place + at.len()..)?))
}

fn name_of(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let (_, disposition) = headers.find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))?;
    let is_field = disposition.split(';').next()?.trim().eq_ignore_ascii_case("form-data");
    parameter(disposition, "name").filter(|_| is_field).map(Cow::into_owned)
}

/// The value of a parameter behind a header's first word, without its quotes.
fn parameter<'a>(header: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (key, behind) = rest.split_once('=')?;
        let (value, behind) = value(behind.trim_start());
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = behind.split_once(';')?.1;
    }
}

/// A token or a quoted text, and what is behind it.
fn value(text: &str) -> (Cow<'_, str>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        let (token, behind) = text.split_at(end);
        return (Cow::Borrowed(token.trim()), behind);
    };
    let (mut value, mut letters) = (String::new(), quoted.char_indices());
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => return (Cow::Owned(value), quoted.get(place + 1..).unwrap_or_default()),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (Cow::Owned(value), "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Result<Vec<(String, String)>> {
        let parts = parts("x", body.as_bytes())?;
        Ok(parts
            .into_iter()
            .map(|part| (part.name.into_owned(), String::from_utf8_lossy(part.value).into_owned()))
            .collect())
    }

    #[test]
    fn parts_have_names_and_values() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f;1.txt\"\r\nContent-Type: t\r\n\r\n1\r\n2\
                    \r\n--x \r\ncontent-disposition:form-data;filename=n;name=b\r\n\r\n\r\n--x--\r\nrest";
        let expected = [("a".to_owned(), "1\r\n2".to_owned()), ("b".to_owned(), String::new())];
        assert_eq!(read(body).unwrap(), expected);
        assert_eq!(read(&format!("preamble\r\n{body}")).unwrap(), expected);
        let quoted = "--x\r\nContent-Disposition: form-data; name=\"a\\\"b\"\r\n\r\n1\r\n--x--";
        assert_eq!(read(quoted).unwrap()[0].0, "a\"b");
        assert_eq!(read("--x--").unwrap(), []);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let head = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n";
        for body in [
            "",
            "--y\r\n",
            "--x",
            "--xy\r\n\r\n1\r\n--x--",
            "--x\r\n\r\n1\r\n--x--",
            "--x\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\n1\r\n--x--",
            "--x\r\nContent-Disposition: form-data; filename=\"a\"\r\n\r\n1\r\n--x--",
            "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n",
            head,
            &format!("{head}1\r\n"),
        ] {
            assert!(read(body).is_err(), "{body:?}");
        }
        assert!(read(&format!("{}--x--", format!("{head}\r\n").repeat(PARTS_MAX + 1))).is_err());
        assert!(read(&format!("{}--x--", format!("{head}\r\n").repeat(PARTS_MAX))).is_ok());
    }

    #[test]
    fn content_types_name_boundaries() {
        let named = |text: &str| boundary(text).ok();
        assert_eq!(named("multipart/form-data; charset=utf-8; boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(named("multipart/form-data;Boundary=ab").as_deref(), Some("ab"));
        for none in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"\""] {
            assert_eq!(named(none), None, "{none}");
        }
        assert_eq!(named(&format!("multipart/form-data; boundary={}", "x".repeat(71))), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), text in "[-x \r\n:;\"=a-z]{0,200}") {
            drop(parts("x", &body));
            drop(parts("x", format!("--x\r\nContent-Disposition:{text}").as_bytes()));
            drop(boundary(&text));
        }
    }
}
