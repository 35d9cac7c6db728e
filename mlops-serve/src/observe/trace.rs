//! W3C Trace Context, <https://www.w3.org/TR/trace-context/>: reading `traceparent`, and a span of our own in it.
//!
//! A header that does not follow the recommendation is as good as none: a new trace begins.

use std::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicU64, Ordering},
};

use mlops_core::Digest;

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    /// Bit 0: whether the caller records the trace.
    flags: u8,
}

/// Exactly `length` lower-case hexadecimal digits.
fn hex(text: &str, length: usize) -> Option<u128> {
    let fits = text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if fits { u128::from_str_radix(text, 16).ok() } else { None }
}

impl TraceContext {
    /// Reads `version-trace-span-flags` (section 3.2.2). Later versions may add fields behind a dash.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace) = (hex(parts.next()?, 2)?, hex(parts.next()?, 32)?);
        let (span, flags) = (hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
        if version == 0xff || (version == 0 && parts.next().is_some()) || trace == 0 || span == 0 {
            return None;
        }
        Some(Self { trace, span: u64::try_from(span).ok()?, flags: u8::try_from(flags).ok()? & 1 })
    }
}

/// The hexadecimal digit of a number below 16.
fn digit(number: u8) -> u8 {
    number + if number < 10 { b'0' } else { b'a' - 10 }
}

/// Length of a header of version 00.
const HEADER_BYTES: usize = 55;

impl TraceContext {
    /// The header `00-trace-span-flags`.
    pub(crate) fn text(self) -> [u8; HEADER_BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let mut digits = |from: usize, bytes: &[u8]| {
            let (places, _) = text.get_mut(from..).unwrap_or_default().as_chunks_mut::<2>();
            for (place, byte) in places.iter_mut().zip(bytes) {
                *place = [digit(byte >> 4), digit(byte & 0xf)];
            }
        };
        digits(3, &self.trace.to_be_bytes());
        digits(36, &self.span.to_be_bytes());
        digits(53, &[self.flags]);
        text
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().iter().try_for_each(|byte| f.write_char(char::from(*byte)))
    }
}

/// Ids of spans and traces: different in each process whose instance has another name, and never the same twice in one.
#[derive(Debug)]
pub(crate) struct SpanIds {
    seed: u64,
    count: AtomicU64,
}

impl SpanIds {
    pub(crate) fn new(instance: &str) -> Self {
        Self {
            seed: u64::from_str_radix(&Digest::of(instance.as_bytes()).short(), 16).unwrap_or(1),
            count: AtomicU64::new(0),
        }
    }

    /// So many ids.
    fn next<const COUNT: usize>(&self) -> [u64; COUNT] {
        let first = self.count.fetch_add(COUNT as u64, Ordering::Relaxed);
        std::array::from_fn(|place| self.mixed(first.wrapping_add(place as u64)))
    }

    /// Mixes seed and number (SplitMix64's output function is a bijection, so numbers give different ids).
    fn mixed(&self, number: u64) -> u64 {
        let mut mixed = self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Zero is no id; it is the one number in 2^64 that is replaced.
        (mixed ^ (mixed >> 31)).max(1)
    }

    /// A span below `parent`, or the first of a new trace that nobody records.
    pub(crate) fn span(&self, parent: Option<TraceContext>) -> TraceContext {
        if let Some(parent) = parent {
            let [span] = self.next();
            return TraceContext { span, ..parent };
        }
        let [span, high, low] = self.next();
        TraceContext { trace: (u128::from(high) << 64) | u128::from(low), span, flags: 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_recommendation_is_read_and_what_is_wrong_is_none() {
        let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(example).unwrap();
        assert_eq!(context.to_string(), example);
        assert!(TraceContext::parse(&example.replacen("00", "cc", 1).replace("-01", "-01-more")).is_some());
        for bad in [
            "",
            "00",
            &example.to_uppercase(),
            &example.replacen("00", "ff", 1),
            &format!("{example}-more"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_span_stays_in_its_trace_and_ids_do_not_repeat() {
        let ids = SpanIds::new("a");
        let parent = TraceContext { trace: 7, span: 8, flags: 1 };
        let child = ids.span(Some(parent));
        assert_eq!((child.trace, child.flags), (7, 1));
        assert_ne!(child.span, 8);
        let spans: BTreeSet<u64> = (0..10_000).map(|_| ids.span(Some(parent)).span).collect();
        assert_eq!(spans.len(), 10_000);
        assert_ne!(SpanIds::new("b").span(None), SpanIds::new("c").span(None));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f-]{0,70}|.*") {
            if let Some(context) = TraceContext::parse(&text) {
                prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
            }
        }
    }
}
