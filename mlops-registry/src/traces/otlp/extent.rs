//! How large a JSON text is, told before it is taken apart.

#[cfg(feature = "mlflow")]
use super::NESTING_MAX;

/// Counts of a JSON text; of a text that is none, some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct JsonExtent {
    /// How many objects begin.
    pub(crate) objects: usize,
    /// At least how many values and names there are, and not more than twice as many.
    pub(crate) values: usize,
    /// How many lists and objects lie in one another.
    pub(crate) depth: usize,
}

impl JsonExtent {
    /// Goes through the text once, past its strings.
    pub(crate) fn of(json: &[u8]) -> Self {
        let (mut extent, mut open, mut quoted, mut escaped) = (Self { values: 1, ..Self::default() }, 0, false, false);
        for byte in json {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'{' | b'[' => {
                    extent.objects += usize::from(*byte == b'{');
                    extent.values += 1;
                    open += 1;
                    extent.depth = extent.depth.max(open);
                }
                b'}' | b']' => open = open.saturating_sub(1),
                b',' | b':' => extent.values += 1,
                _ => {}
            }
        }
        extent
    }

    /// Whether an attribute may hold what the text says, where there is room for so many values.
    #[cfg(feature = "mlflow")]
    pub(crate) fn fits(self, room: usize) -> bool {
        self.values <= room && self.depth <= NESTING_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_strings_does_not_count() {
        let extent = JsonExtent::of(br#"{"a{{,": "\"{", "b": [{}, {"c": {}}]}"#);
        assert_eq!((extent.objects, extent.depth), (4, 4));
        // Beside the whole, 5 that begin, 2 commas, 3 colons.
        assert_eq!(extent.values, 11);
        assert_eq!(JsonExtent::of(b"]]}[").depth, 1);
    }
}
