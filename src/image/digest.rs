//! SHA-256, in hexadecimal, of bytes and of fields whose borders count.

use sha2::{Digest as _, Sha256};

/// A running digest. Made only where hashing starts: the first one asks the processor what it can.
pub struct Digest(Sha256);

impl Digest {
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    /// Adds bytes as they are.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds a number as eight bytes, the lowest first.
    pub fn number(&mut self, number: u64) {
        self.add(&number.to_le_bytes());
    }

    /// Adds bytes behind their length, so that no two lists of fields are the same text.
    pub fn field(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.add(bytes);
    }

    /// Adds what no field begins with.
    pub fn end_of_list(&mut self) {
        self.number(u64::MAX);
    }

    /// The digest as bytes.
    pub fn bytes(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The digest as 64 hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.bytes())
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc_is_the_published_one() {
        let mut digest = Digest::new();
        digest.add(b"abc");
        assert_eq!(
            digest.finish(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn borders_of_fields_count() {
        let of = |fields: [&[u8]; 2]| {
            let mut digest = Digest::new();
            fields.iter().for_each(|field| digest.field(field));
            digest.finish()
        };
        assert_ne!(of([b"ab", b"c"]), of([b"a", b"bc"]));
    }
}
