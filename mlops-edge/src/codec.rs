//! The file: little endian, without gaps.
//!
//! | bytes | meaning |
//! |---|---|
//! | 4 | `MLED` |
//! | 4 | format, 1 |
//! | 1 | output: 0 number, 1 probability |
//! | 8, 8 | its mean and scale, f64 |
//! | 2 | number of columns |
//! | | columns: name (u16 length, UTF-8), kind u8, then as below |
//! | 2 | number of layers |
//! | | layers: inputs u32, outputs u32, kind u8, then as below |
//!
//! Column kinds: 0 number, 1 one-hot; plus 2 with a number for missing. A number has fill, mean and
//! scale as f64; a one-hot column a u16 count of categories and those as u16 length and UTF-8.
//!
//! Layer kinds: 0 single precision with a row per input, 1 bytes with a row per output; plus 2 with
//! zeros left out. Bytes are preceded by the scale (f32) and zero point (u8) of the inputs' code
//! and a u32 count of scales with those. Weights with zeros left out are a bitmap of what is kept,
//! lowest bit first, and the kept ones: what is decoded is at most 32 times as large as its bytes.
//! The bias follows as f32.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use crate::{
    cells::COLUMNS_MAX,
    column::{Column, Step},
    error::Error,
    layer::{Layer, Weights},
    model::{Model, Output},
    quantize::Affine,
};

const MAGIC: [u8; 4] = *b"MLED";
const FORMAT: u32 = 1;
const INDICATOR: u8 = 2;
const PACKED: u8 = 2;

pub(crate) fn encode(model: &Model) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    bytes.extend(FORMAT.to_le_bytes());
    bytes.push(u8::from(model.output.probability));
    bytes.extend(model.output.mean.to_le_bytes());
    bytes.extend(model.output.scale.to_le_bytes());
    bytes.extend((model.columns.len() as u16).to_le_bytes());
    model.columns.iter().for_each(|column| encode_column(column, &mut bytes));
    bytes.extend((model.layers.len() as u16).to_le_bytes());
    model.layers.iter().for_each(|layer| encode_layer(layer, &mut bytes));
    bytes
}

fn encode_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn encode_column(column: &Column, bytes: &mut Vec<u8>) {
    encode_text(&column.name, bytes);
    match &column.step {
        Step::Number { fill, mean, scale, indicator } => {
            bytes.push(if *indicator { INDICATOR } else { 0 });
            [fill, mean, scale].into_iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        }
        Step::OneHot { categories, indicator } => {
            bytes.push(1 + if *indicator { INDICATOR } else { 0 });
            bytes.extend((categories.len() as u16).to_le_bytes());
            categories.iter().for_each(|category| encode_text(category, bytes));
        }
    }
}

fn encode_layer(layer: &Layer, bytes: &mut Vec<u8>) {
    bytes.extend((layer.inputs as u32).to_le_bytes());
    bytes.extend((layer.outputs as u32).to_le_bytes());
    match &layer.weights {
        Weights::F32(cells) => {
            let (packed, cells) = pack(&cells.dense(), |value| value.to_le_bytes());
            bytes.push(packed);
            bytes.extend(cells);
        }
        Weights::I8 { cells, scales, input } => {
            let (packed, cells) = pack(&cells.dense(), |value| value.to_le_bytes());
            bytes.push(1 + packed);
            bytes.extend(input.scale.to_le_bytes());
            bytes.push(input.zero_point);
            bytes.extend((scales.len() as u32).to_le_bytes());
            scales.iter().for_each(|scale| bytes.extend(scale.to_le_bytes()));
            bytes.extend(cells);
        }
    }
    layer.bias.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
}

/// Cells as bytes, without their zeros where that is shorter.
fn pack<T: Copy + Default + PartialEq, const N: usize>(cells: &[T], write: fn(T) -> [u8; N]) -> (u8, Vec<u8>) {
    let zero = T::default();
    let kept = cells.iter().filter(|cell| **cell != zero).count();
    if cells.len().div_ceil(8) + kept * N >= cells.len() * N {
        return (0, cells.iter().flat_map(|cell| write(*cell)).collect());
    }
    let mask = |cells: &[T]| cells.iter().rev().fold(0, |mask, cell| (mask << 1) | u8::from(*cell != zero));
    let mut bytes: Vec<u8> = cells.chunks(8).map(mask).collect();
    bytes.extend(cells.iter().filter(|cell| **cell != zero).flat_map(|cell| write(*cell)));
    (PACKED, bytes)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Model, Error> {
    let mut reader = Reader(bytes);
    if reader.array::<4>().map_err(|_| Error::NotAModel)? != MAGIC {
        return Err(Error::NotAModel);
    }
    let format = u32::from_le_bytes(reader.array()?);
    if format != FORMAT {
        return Err(Error::Version(format));
    }
    let probability = match reader.byte()? {
        0 => false,
        1 => true,
        _ => return Err(Error::Malformed("the kind of the output")),
    };
    let output = Output { probability, mean: reader.f64()?, scale: reader.f64()? };
    let columns = reader.u16()?;
    let columns = (0..columns).map(|_| reader.column()).collect::<Result<Vec<_>, Error>>()?;
    let layers = reader.u16()?;
    let layers = (0..layers).map(|_| reader.layer()).collect::<Result<Vec<_>, Error>>()?;
    if !reader.0.is_empty() {
        return Err(Error::Trailing);
    }
    Model::new(columns, layers, output)
}

/// What is left of the bytes. Everything allocated is proportional to what was read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    /// A width or count from 1 to 65,536.
    fn width(&mut self) -> Result<usize, Error> {
        let width = u32::from_le_bytes(self.array()?) as usize;
        if (1..=COLUMNS_MAX).contains(&width) { Ok(width) } else { Err(Error::Malformed("the width of a layer")) }
    }

    fn f64(&mut self) -> Result<f64, Error> {
        self.array().map(f64::from_le_bytes)
    }

    fn f32s(&mut self, count: usize) -> Result<Vec<f32>, Error> {
        let (numbers, _) = self.slice(count.checked_mul(4).ok_or(Error::Truncated)?)?.as_chunks::<4>();
        Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
    }

    fn text(&mut self) -> Result<String, Error> {
        let length = usize::from(self.u16()?);
        let text = core::str::from_utf8(self.slice(length)?).map_err(|_| Error::Malformed("text that is not UTF-8"))?;
        Ok(text.to_string())
    }

    fn column(&mut self) -> Result<Column, Error> {
        let name = self.text()?;
        let kind = self.byte()?;
        let indicator = kind & INDICATOR != 0;
        let step = match kind & !INDICATOR {
            0 => Step::Number { fill: self.f64()?, mean: self.f64()?, scale: self.f64()?, indicator },
            1 => {
                let count = self.u16()?;
                let categories = (0..count).map(|_| self.text()).collect::<Result<_, Error>>()?;
                Step::OneHot { categories, indicator }
            }
            _ => return Err(Error::Malformed("the kind of a column")),
        };
        Ok(Column { name, step })
    }

    fn layer(&mut self) -> Result<Layer, Error> {
        let (inputs, outputs) = (self.width()?, self.width()?);
        let cells = inputs.checked_mul(outputs).ok_or(Error::Truncated)?;
        let kind = self.byte()?;
        let packed = kind & PACKED != 0;
        match kind & !PACKED {
            0 => {
                let weights = self.cells(cells, packed, f32::from_le_bytes)?;
                Layer::f32(inputs, outputs, weights, self.f32s(outputs)?)
            }
            1 => {
                let input = Affine { scale: f32::from_le_bytes(self.array()?), zero_point: self.byte()? };
                let scales = self.width()?;
                let scales = self.f32s(scales)?;
                let weights = self.cells(cells, packed, i8::from_le_bytes)?;
                Layer::i8((inputs, outputs), weights, scales, input, self.f32s(outputs)?)
            }
            _ => Err(Error::Malformed("the kind of a layer")),
        }
    }

    fn cells<T: Copy + Default, const N: usize>(
        &mut self,
        count: usize,
        packed: bool,
        read: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Error> {
        if !packed {
            let (cells, _) = self.slice(count.checked_mul(N).ok_or(Error::Truncated)?)?.as_chunks::<N>();
            return Ok(cells.iter().map(|cell| read(*cell)).collect());
        }
        let mask = self.slice(count.div_ceil(8))?;
        let kept = |place: usize| mask.get(place / 8).is_some_and(|byte| (byte >> (place % 8)) & 1 == 1);
        (0..count).map(|place| if kept(place) { self.array().map(read) } else { Ok(T::default()) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{Scratch, Value};

    fn model() -> Model {
        let columns = vec![
            Column::number("age", 40.0, 38.5, 12.25, true),
            Column::one_hot("plan", ["free", "paid"], false),
            Column::number("x", 0.0, 0.0, 1.0, false),
        ];
        let mut sparse = vec![0_i8; 6 * 5];
        sparse[7] = 100;
        sparse[29] = -3;
        let input = Affine::over(-3.0, 3.0);
        let layers = vec![
            Layer::i8((6, 5), sparse, vec![0.02; 5], input, vec![0.1; 5]).unwrap(),
            Layer::i8((5, 4), (0..20).map(|i| i * 5 - 50).collect(), vec![0.01], input, vec![0.0; 4]).unwrap(),
            Layer::f32(4, 1, vec![0.5, 0.0, -0.25, 2.0], vec![0.125]).unwrap(),
        ];
        Model::new(columns, layers, Output::number(1.0, 2.0)).unwrap()
    }

    const ROW: [Value<'_>; 3] = [Value::Number(51.0), Value::Text("paid"), Value::Number(-2.0)];

    #[test]
    fn bytes_are_as_documented_and_read_back() {
        let bytes = model().to_bytes();
        assert_eq!(bytes[..9], *b"MLED\x01\0\0\0\0");
        let read = Model::from_bytes(&bytes).unwrap();
        assert_eq!(read, model());
        assert_eq!(read.to_bytes(), bytes);
        let predict = |model: &Model| model.predict(&ROW, &mut Scratch::default()).unwrap();
        assert_eq!(predict(&read).to_bits(), predict(&model()).to_bits());
        // Two of thirty kept: four bytes of bitmap instead of thirty.
        assert_eq!(read.weights(), 2 + 20 + 4);
    }

    #[test]
    fn every_truncation_and_a_longer_file_are_refused() {
        let mut bytes = model().to_bytes();
        for length in 0..bytes.len() {
            assert!(Model::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        bytes.push(0);
        assert_eq!(Model::from_bytes(&bytes), Err(Error::Trailing));
        bytes[4] = 9;
        assert_eq!(Model::from_bytes(&bytes), Err(Error::Version(9)));
    }

    #[test]
    fn announced_sizes_do_not_allocate() {
        let column = Column::number("x", 0.0, 0.0, 1.0, false);
        let layer = Layer::f32(1, 1, vec![1.0], vec![0.0]).unwrap();
        let mut bytes = Model::new(vec![column], vec![layer], Output::probability()).unwrap().to_bytes();
        let at = bytes.len() - 17;
        bytes[at..at + 8].copy_from_slice(&[0, 0, 1, 0, 0, 0, 1, 0]);
        assert_eq!(Model::from_bytes(&bytes), Err(Error::Truncated));
    }

    #[test]
    fn rows_of_another_kind_are_refused() {
        let (model, mut scratch) = (model(), Scratch::default());
        assert_eq!(model.predict(&ROW[..2], &mut scratch), Err(Error::Width { expected: 3, found: 2 }));
        let row = [Value::Text("old"), Value::Missing, Value::Missing];
        assert_eq!(model.predict(&row, &mut scratch), Err(Error::Type { column: "age".to_string() }));
        let row = [Value::Number(f64::NAN), Value::Text("new"), Value::Number(f64::INFINITY)];
        let missing = [Value::Missing, Value::Text("newer"), Value::Missing];
        assert_eq!(model.predict(&row, &mut scratch), model.predict(&missing, &mut scratch));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(noise in prop::collection::vec(any::<(usize, u8)>(), 1..20)) {
            let mut bytes = model().to_bytes();
            for (at, value) in noise {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            if let Ok(model) = Model::from_bytes(&bytes) {
                let row: Vec<Value<'_>> =
                    model.columns().iter().map(|c| if c.is_text() { Value::Text("free") } else { Value::Number(1.0) }).collect();
                prop_assert!(model.predict(&row, &mut Scratch::default()).is_ok());
                prop_assert_eq!(Model::from_bytes(&model.to_bytes()).unwrap(), model);
            }
        }
    }
}
