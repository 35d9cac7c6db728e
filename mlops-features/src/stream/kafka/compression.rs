//! Batches of messages are compressed by their producer. What comes out is bounded, whatever a batch says of itself.

use std::io::{self, Read};

use bytes::Bytes;

use super::records::Fault;

/// How the Java client frames its blocks of Snappy: a magic, two versions, then blocks with their lengths. See
/// <https://github.com/xerial/snappy-java#compatibility-notes>.
const SNAPPY_MAGIC: &[u8] = b"\x82SNAPPY\0";
const SNAPPY_VERSIONS: usize = 8;

/// The contents of `data`, at most `bytes_max` bytes.
pub(super) fn expand(codec: i16, data: Bytes, bytes_max: usize) -> Result<Bytes, Fault> {
    match codec {
        0 => Ok(data),
        1 => all(flate2::read::GzDecoder::new(data.as_ref()), bytes_max),
        2 => snappy(&data, bytes_max),
        3 => all(lz4_flex::frame::FrameDecoder::new(data.as_ref()), bytes_max),
        4 => all(zstd::stream::read::Decoder::with_buffer(data.as_ref()).map_err(broken)?, bytes_max),
        other => Err(Fault::Codec(format!("its compression has number {other}, which is none of Kafka's"))),
    }
}

fn all(reader: impl Read, bytes_max: usize) -> Result<Bytes, Fault> {
    let mut contents = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(bound).read_to_end(&mut contents).map_err(broken)?;
    if contents.len() > bytes_max {
        return Err(Fault::TooLarge);
    }
    Ok(contents.into())
}

fn snappy(data: &[u8], bytes_max: usize) -> Result<Bytes, Fault> {
    let Some(framed) = data.strip_prefix(SNAPPY_MAGIC) else { return Ok(snappy_block(data, bytes_max)?.into()) };
    let cut = || Fault::Codec("its frame of Snappy ends before it should".to_owned());
    let (mut left, mut contents) = (framed.get(SNAPPY_VERSIONS..).ok_or_else(cut)?, Vec::new());
    while let Some((length, rest)) = left.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (block, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        contents.extend(snappy_block(block, bytes_max - contents.len())?);
        left = rest;
    }
    if left.is_empty() { Ok(contents.into()) } else { Err(cut()) }
}

fn snappy_block(block: &[u8], bytes_max: usize) -> Result<Vec<u8>, Fault> {
    if snap::raw::decompress_len(block).map_err(broken)? > bytes_max {
        return Err(Fault::TooLarge);
    }
    snap::raw::Decoder::new().decompress_vec(block).map_err(broken)
}

fn broken(error: impl Into<io::Error>) -> Fault {
    Fault::Codec(format!("it cannot be expanded: {}", error.into()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// `contents` by each of Kafka's codecs; Snappy in both of its forms.
    fn compressed(contents: &[u8]) -> Vec<(i16, Bytes)> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(contents).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(contents).unwrap();
        let mut framed = [SNAPPY_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        for block in contents.chunks(1_000) {
            let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
            framed.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
            framed.extend(block);
        }
        vec![
            (0, contents.to_vec().into()),
            (1, gzip.finish().unwrap().into()),
            (2, snap::raw::Encoder::new().compress_vec(contents).unwrap().into()),
            (2, framed.into()),
            (3, lz4.finish().unwrap().into()),
            (4, zstd::encode_all(contents, 1).unwrap().into()),
        ]
    }

    #[test]
    fn every_codec_gives_back_what_went_in() {
        let contents: Vec<u8> = (0..5_000_u32).flat_map(|number| (number / 7).to_be_bytes()).collect();
        for (number, (codec, data)) in compressed(&contents).into_iter().enumerate() {
            assert_eq!(expand(codec, data, contents.len()).unwrap(), contents, "{number}");
        }
    }

    #[test]
    fn what_expands_beyond_the_bound_is_refused_before_it_is_there() {
        let zeros = vec![0; 50_000];
        for (codec, data) in compressed(&zeros).into_iter().skip(1) {
            assert!(matches!(expand(codec, data, zeros.len() - 1), Err(Fault::TooLarge)), "codec {codec}");
        }
        // A block of Snappy that says it has 4 GiB.
        let lie = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
        assert!(matches!(expand(2, lie, 1 << 20), Err(Fault::TooLarge)));
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_told() {
        let contents: Vec<u8> = (0..3_000_u32).flat_map(u32::to_be_bytes).collect();
        for (codec, data) in compressed(&contents).into_iter().skip(1) {
            let cut = data.slice(..data.len() / 2);
            assert!(matches!(expand(codec, cut, 1 << 20), Err(Fault::Codec(_))), "codec {codec}");
        }
        assert!(matches!(expand(5, Bytes::new(), 1), Err(Fault::Codec(_))));
    }
}
