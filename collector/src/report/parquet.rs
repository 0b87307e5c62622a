//! The entries of a month as a Parquet file, for any SQL engine.
//!
//! Only what these entries need of the format: one flat schema without nulls, plain numbers and
//! times, dictionaries of 16 bits for names, ZSTD pages, data pages of version 1. A library for all
//! of Parquet would be the heaviest crate of the workspace (decision 28).
//!
//! # Layout
//! `PAR1` · for each row group, for each column: (dictionary page) data page · metadata in Thrift's
//! compact protocol · its length, 4 bytes little endian · `PAR1`.
//!
//! # Invariants
//! - The same entries give the same bytes.
//! - A row group has at most [`ROWS_MAX`] rows, so that a dictionary's places fit into 16 bits and
//!   memory is bounded.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::fold::EntryAt;
use super::thrift::{self, Struct};

/// Rows of a group.
const ROWS_MAX: usize = 60_000;
const MAGIC: &[u8; 4] = b"PAR1";
const ZSTD_LEVEL: i32 = 3;

// Numbers of the format.
const BOOLEAN: i64 = 0;
const INT32: i64 = 1;
const INT64: i64 = 2;
const BYTE_ARRAY: i64 = 6;
const UTF8: i64 = 0;
const TIMESTAMP_MILLIS: i64 = 9;
const UINT_32: i64 = 13;
const UINT_64: i64 = 14;
const PLAIN: i64 = 0;
const RLE: i64 = 3;
const RLE_DICTIONARY: i64 = 8;
const ZSTD: i64 = 6;
const DATA_PAGE: i64 = 0;
const DICTIONARY_PAGE: i64 = 2;

/// A column: name, physical type, what it means.
const COLUMNS: [(&str, i64, Option<i64>); 10] = [
    ("seq", INT64, Some(UINT_64)),
    ("interval", INT64, Some(TIMESTAMP_MILLIS)),
    ("debit", BYTE_ARRAY, Some(UTF8)),
    ("credit", BYTE_ARRAY, Some(UTF8)),
    ("class", BYTE_ARRAY, Some(UTF8)),
    ("amount_mj", INT64, Some(UINT_64)),
    ("is_reversal", BOOLEAN, None),
    ("corrects", INT64, Some(UINT_64)),
    ("rule", INT32, Some(UINT_32)),
    ("leaf", INT64, Some(UINT_64)),
];

/// Values of one column, as its pages have them.
#[derive(Debug)]
enum Values {
    /// Little endian, one after the other.
    Plain(Vec<u8>),
    /// One bit each, the lowest first.
    Bits(Vec<bool>),
    /// Names, and the place of each row's.
    Names { places: BTreeMap<String, u16>, order: Vec<String>, rows: Vec<u16> },
}

impl Values {
    fn of(kind: i64) -> Self {
        match kind {
            BOOLEAN => Self::Bits(Vec::new()),
            BYTE_ARRAY => {
                Self::Names { places: BTreeMap::new(), order: Vec::new(), rows: Vec::new() }
            }
            _ => Self::Plain(Vec::new()),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if let Self::Plain(values) = self {
            values.extend_from_slice(bytes);
        }
    }

    fn bit(&mut self, bit: bool) {
        if let Self::Bits(bits) = self {
            bits.push(bit);
        }
    }

    fn name(&mut self, name: String) {
        let Self::Names { places, order, rows } = self else { return };
        let next = u16::try_from(order.len()).expect("a group has fewer rows than 2^16");
        let place = *places.entry(name).or_insert_with_key(|name| {
            order.push(name.clone());
            next
        });
        rows.push(place);
    }
}

/// A file that is being written.
pub(super) struct Parquet<W> {
    to: W,
    at: u64,
    columns: Vec<Values>,
    rows: usize,
    /// Metadata of the groups that are written, and their rows.
    groups: Vec<Vec<u8>>,
    total: u64,
}

impl<W: Write> Parquet<W> {
    pub(super) fn begin(mut to: W) -> io::Result<Self> {
        to.write_all(MAGIC)?;
        Ok(Self { to, at: 4, columns: empty(), rows: 0, groups: Vec::new(), total: 0 })
    }

    pub(super) fn add(&mut self, entry: &EntryAt<'_>) -> io::Result<()> {
        let EntryAt { leaf, interval, line, corrects, rule } = entry;
        let [seq, at, debit, credit, class, amount, reversal, corrected, rules, leaves] =
            self.columns.as_mut_slice()
        else {
            unreachable!("there are ten columns")
        };
        seq.bytes(&line.seq.to_le_bytes());
        at.bytes(&interval.get().to_le_bytes());
        debit.name(line.debit.to_string());
        credit.name(line.credit.to_string());
        class.name(line.class.word().to_owned());
        amount.bytes(&line.amount.to_le_bytes());
        reversal.bit(line.is_reversal);
        // Sequences count from 1: nothing is 0.
        corrected.bytes(&corrects.unwrap_or(0).to_le_bytes());
        rules.bytes(&rule.to_le_bytes());
        leaves.bytes(&leaf.to_le_bytes());
        self.rows += 1;
        if self.rows == ROWS_MAX { self.end_group() } else { Ok(()) }
    }

    /// Writes what is left and the metadata.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if self.rows > 0 {
            self.end_group()?;
        }
        let mut file = Struct::default();
        file.int(1, 2);
        file.structs(2, &schema());
        file.long(3, signed(self.total));
        file.structs(4, &self.groups);
        file.text(6, concat!("bijli-collector version ", env!("CARGO_PKG_VERSION")));
        let metadata = file.finish();
        self.to.write_all(&metadata)?;
        self.to.write_all(&short(metadata.len()).to_le_bytes())?;
        self.to.write_all(MAGIC)?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn end_group(&mut self) -> io::Result<()> {
        let columns = std::mem::replace(&mut self.columns, empty());
        let rows = std::mem::take(&mut self.rows);
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        for ((name, kind, _), values) in COLUMNS.iter().zip(columns) {
            let begun = self.at;
            let (chunk, plain) = self.chunk(name, *kind, values, rows)?;
            bytes += plain;
            let mut of_column = Struct::default();
            of_column.long(2, signed(begun));
            of_column.structure(3, &chunk);
            chunks.push(of_column.finish());
        }
        let mut group = Struct::default();
        group.structs(1, &chunks);
        group.long(2, signed(bytes));
        group.long(3, signed(wide(rows)));
        self.groups.push(group.finish());
        self.total += wide(rows);
        Ok(())
    }

    /// Writes a column's pages; tells its metadata and how long it is unpacked.
    fn chunk(
        &mut self,
        name: &str,
        kind: i64,
        values: Values,
        rows: usize,
    ) -> io::Result<(Vec<u8>, u64)> {
        let begun = self.at;
        let (mut dictionary, mut plain) = (None, 0);
        let (encoding, data) = match values {
            Values::Plain(bytes) => (PLAIN, bytes),
            Values::Bits(bits) => (PLAIN, packed(&bits)),
            Values::Names { order, rows, .. } => {
                dictionary = Some(self.at);
                let mut names = Vec::new();
                for name in &order {
                    names.extend(short(name.len()).to_le_bytes());
                    names.extend(name.as_bytes());
                }
                let mut header = Struct::default();
                header.int(1, signed(wide(order.len())));
                header.int(2, PLAIN);
                plain += self.page(DICTIONARY_PAGE, (7, &header.finish()), &names)?;
                (RLE_DICTIONARY, indexes(&rows))
            }
        };
        let data_at = self.at;
        let mut header = Struct::default();
        header.int(1, signed(wide(rows)));
        header.int(2, encoding);
        header.int(3, RLE);
        header.int(4, RLE);
        plain += self.page(DATA_PAGE, (5, &header.finish()), &data)?;
        let mut metadata = Struct::default();
        metadata.int(1, kind);
        metadata.ints(2, &[PLAIN, RLE, RLE_DICTIONARY]);
        metadata.texts(3, &[name]);
        metadata.int(4, ZSTD);
        metadata.long(5, signed(wide(rows)));
        metadata.long(6, signed(plain));
        metadata.long(7, signed(self.at - begun));
        metadata.long(9, signed(data_at));
        if let Some(at) = dictionary {
            metadata.long(11, signed(at));
        }
        Ok((metadata.finish(), plain))
    }

    /// Writes one page; tells how long it is unpacked, its header included.
    fn page(&mut self, kind: i64, (field, header): (i16, &[u8]), data: &[u8]) -> io::Result<u64> {
        let small = zstd::bulk::compress(data, ZSTD_LEVEL)?;
        let mut page = Struct::default();
        page.int(1, kind);
        page.int(2, signed(wide(data.len())));
        page.int(3, signed(wide(small.len())));
        page.structure(field, header);
        let page = page.finish();
        self.to.write_all(&page)?;
        self.to.write_all(&small)?;
        self.at += wide(page.len()) + wide(small.len());
        Ok(wide(page.len()) + wide(data.len()))
    }
}

fn empty() -> Vec<Values> {
    COLUMNS.iter().map(|(_, kind, _)| Values::of(*kind)).collect()
}

fn schema() -> Vec<Vec<u8>> {
    let mut root = Struct::default();
    root.text(4, "entries");
    root.int(5, signed(wide(COLUMNS.len())));
    let mut list = vec![root.finish()];
    for (name, kind, meaning) in COLUMNS {
        let mut column = Struct::default();
        column.int(1, kind);
        column.int(3, 0); // required
        column.text(4, name);
        if let Some(meaning) = meaning {
            column.int(6, meaning);
        }
        list.push(column.finish());
    }
    list
}

/// Eight to a byte, the first in the lowest bit.
fn packed(bits: &[bool]) -> Vec<u8> {
    let byte = |eight: &[bool]| {
        let set = eight.iter().zip(0_u8..).filter(|(bit, _)| **bit);
        set.fold(0_u8, |byte, (_, place)| byte | 1 << place)
    };
    bits.chunks(8).map(byte).collect()
}

/// Places in a dictionary: their width, then one bit-packed run of groups of eight. At a width of
/// 16 bits such a run is the numbers themselves.
fn indexes(rows: &[u16]) -> Vec<u8> {
    let groups = rows.len().div_ceil(8);
    let mut bytes = vec![16];
    thrift::varint(&mut bytes, wide(groups) << 1 | 1);
    rows.iter().for_each(|place| bytes.extend(place.to_le_bytes()));
    bytes.resize(bytes.len() + (groups * 8 - rows.len()) * 2, 0);
    bytes
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_places_are_packed_as_the_format_says() {
        let bits = [true, false, false, true, false, false, false, false, true];
        assert_eq!(packed(&bits), [0b1001, 1]);
        assert_eq!(indexes(&[1, 2]), [&[16, 3, 1, 0, 2, 0][..], &[0; 12]].concat());
        assert_eq!(indexes(&[7; 8]).len(), 2 + 16);
    }

    #[test]
    fn nothing_is_a_file_too() {
        let mut bytes = Vec::new();
        Parquet::begin(&mut bytes).and_then(Parquet::finish).expect("written");
        assert!(bytes.starts_with(MAGIC) && bytes.ends_with(MAGIC));
    }
}
