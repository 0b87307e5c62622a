//! Thrift's compact protocol, as far as the metadata of a Parquet file needs it.

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;
/// A list as long says its length in its head.
const SHORT_LIST: usize = 15;

/// A structure that is being written; fields come by rising number.
#[derive(Debug, Default)]
pub(super) struct Struct {
    bytes: Vec<u8>,
    last: i16,
}

impl Struct {
    fn field(&mut self, number: i16, kind: u8) {
        let step = u8::try_from(number - self.last).expect("fields come by rising number");
        debug_assert!((1..16).contains(&step));
        self.bytes.push(step << 4 | kind);
        self.last = number;
    }

    /// A number of 32 bits: enumerations and lengths.
    pub(super) fn int(&mut self, number: i16, value: i64) {
        self.field(number, I32);
        zigzag(&mut self.bytes, value);
    }

    /// A number of 64 bits.
    pub(super) fn long(&mut self, number: i16, value: i64) {
        self.field(number, I64);
        zigzag(&mut self.bytes, value);
    }

    pub(super) fn text(&mut self, number: i16, text: &str) {
        self.field(number, BINARY);
        binary(&mut self.bytes, text);
    }

    pub(super) fn structure(&mut self, number: i16, bytes: &[u8]) {
        self.field(number, STRUCT);
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn structs(&mut self, number: i16, all: &[Vec<u8>]) {
        self.list(number, STRUCT, all.len());
        all.iter().for_each(|one| self.bytes.extend_from_slice(one));
    }

    pub(super) fn ints(&mut self, number: i16, all: &[i64]) {
        self.list(number, I32, all.len());
        all.iter().for_each(|one| zigzag(&mut self.bytes, *one));
    }

    pub(super) fn texts(&mut self, number: i16, all: &[&str]) {
        self.list(number, BINARY, all.len());
        all.iter().for_each(|one| binary(&mut self.bytes, one));
    }

    fn list(&mut self, number: i16, kind: u8, length: usize) {
        self.field(number, LIST);
        match u8::try_from(length) {
            Ok(short) if length < SHORT_LIST => self.bytes.push(short << 4 | kind),
            Ok(_) | Err(_) => {
                self.bytes.push(0xF0 | kind);
                varint(&mut self.bytes, u64::try_from(length).unwrap_or(u64::MAX));
            }
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

fn binary(to: &mut Vec<u8>, text: &str) {
    varint(to, u64::try_from(text.len()).unwrap_or(u64::MAX));
    to.extend_from_slice(text.as_bytes());
}

fn zigzag(to: &mut Vec<u8>, value: i64) {
    varint(to, (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
}

/// Seven bits to a byte, the lowest first.
pub(super) fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value > 0x7F {
        to.push(u8::try_from(value & 0x7F).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    to.push(u8::try_from(value).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_fields_are_written_as_the_protocol_says() {
        let mut one = Struct::default();
        one.int(1, -1);
        one.long(3, 300);
        one.text(4, "ab");
        one.ints(5, &[0, 1]);
        let expected = [0x15, 1, 0x26, 0xD8, 0x04, 0x18, 2, b'a', b'b', 0x19, 0x25, 0, 2, 0];
        assert_eq!(one.finish(), expected);
    }
}
