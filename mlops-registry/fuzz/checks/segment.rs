//! Whatever bytes come in, reading a segment ends in an error or in points that are written as they were read.

use mlops_registry::tracking::segment::{decode, encode};

pub(crate) fn check(content: &[u8]) {
    // An error is as good as points here.
    let _ = decode(content);
    let bytes = [content, &checksum(content).to_le_bytes()].concat();
    let Ok(points) = decode(&bytes) else { return };
    let again = encode(&points).expect("what was read ascends");
    assert_eq!(decode(&again).expect("what was written is read"), points);
}

/// CRC-32 as the format has it, so that what lies behind the checksum is reached.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
