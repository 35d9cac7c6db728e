//! The name of an object: the MD5 of its bytes and, for the listing of a directory, the suffix `.dir`.

use std::{fmt, str::FromStr};

use mlops_core::{Error, Result};

/// Names an object of a cache or remote.
///
/// ```
/// use mlops_features::dvc::ObjectId;
///
/// let id: ObjectId = "ce6e8111aad9183a8da4c929a306dad2.dir".parse()?;
/// assert!(id.is_directory());
/// assert_eq!(id.to_string(), "ce6e8111aad9183a8da4c929a306dad2.dir");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    md5: [u8; 16],
    directory: bool,
}

/// How the objects of a cache or remote are laid out and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// DVC 3: `files/md5/<2 digits>/<30 digits>`, MD5 of the bytes.
    Files,
    /// DVC 2: `<2 digits>/<30 digits>`, and the line ends of text files do not count. Only read, never written.
    Legacy,
}

impl ObjectId {
    /// A file of this MD5.
    #[must_use]
    pub const fn file(md5: [u8; 16]) -> Self {
        Self { md5, directory: false }
    }

    /// A directory whose listing has this MD5.
    #[must_use]
    pub const fn directory(md5: [u8; 16]) -> Self {
        Self { md5, directory: true }
    }

    /// The MD5.
    #[must_use]
    pub const fn md5(&self) -> [u8; 16] {
        self.md5
    }

    /// Whether it names the listing of a directory.
    #[must_use]
    pub const fn is_directory(&self) -> bool {
        self.directory
    }

    /// The two parts of its path below the root of a layout.
    pub(super) fn parts(&self) -> (String, String) {
        let mut head = self.to_string();
        let tail = head.split_off(2);
        (head, tail)
    }
}

impl Layout {
    /// The folder that the objects are in, empty for the root itself.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Files => "files/md5",
            Self::Legacy => "",
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.md5.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        if self.directory { f.write_str(".dir") } else { Ok(()) }
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

impl FromStr for ObjectId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (digits, directory) = text.strip_suffix(".dir").map_or((text, false), |digits| (digits, true));
        let fault = || Error::invalid_argument(format!("\"{text}\" is not an md5 of 32 lower-case hexadecimal digits"));
        if digits.len() != 32 || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(fault());
        }
        let number = u128::from_str_radix(digits, 16).map_err(|_| fault())?;
        Ok(Self { md5: number.to_be_bytes(), directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dvc_writes_is_a_name() {
        let digits = "0123456789abcdef0123456789abcdef";
        assert_eq!(digits.parse::<ObjectId>().unwrap().to_string(), digits);
        for text in [
            "",
            "../../../../../../../../etc/passwd",
            &digits.to_uppercase(),
            &digits[1..],
            "+123456789abcdef0123456789abcdef",
        ] {
            assert!(text.parse::<ObjectId>().is_err(), "{text}");
        }
    }
}
