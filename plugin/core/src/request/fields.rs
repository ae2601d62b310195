//! Header fields in one piece of memory, as proxy-wasm hosts hand them over, so that a request's
//! head need not be copied to be read.
//!
//! First the number of fields, then the sizes of each name and value, then the names and values
//! themselves, each with a NUL after it. Numbers are little-endian and of 32 bits.

use std::ops::Range;

/// Header fields in the order in which they arrived. Neither names nor values need be text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    serialized: Vec<u8>,
}

/// Where a name or a value lies.
pub(super) type Span = Range<usize>;

impl Fields {
    /// The fields that a host serialised. Reading them ends early where they make no sense.
    #[must_use]
    pub const fn from_host(serialized: Vec<u8>) -> Self {
        Self { serialized }
    }

    /// These fields.
    #[must_use]
    pub fn new<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut serialized = number(fields.len()).to_vec();
        for (name, value) in fields {
            serialized.extend(number(name.as_ref().len()));
            serialized.extend(number(value.as_ref().len()));
        }
        for text in fields.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]) {
            serialized.extend_from_slice(text);
            serialized.push(0);
        }
        Self { serialized }
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans().map(|(name, value)| (self.at(&name), self.at(&value)))
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = (Span, Span)> {
        let (count, rest) = self.serialized.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        let sizes = rest.as_chunks::<8>().0.get(..size(*count)).unwrap_or_default();
        let mut text = 4 + size_of_val(sizes);
        sizes.iter().map_while(move |[a, b, c, d, e, f, g, h]| {
            let name = text..text.checked_add(size([*a, *b, *c, *d]))?;
            let start = name.end.checked_add(1)?;
            let value = start..start.checked_add(size([*e, *f, *g, *h]))?;
            text = value.end.checked_add(1)?;
            (value.end <= self.serialized.len()).then_some((name, value))
        })
    }

    /// The bytes at `span`; none at a span of other fields.
    pub(super) fn at(&self, span: &Span) -> &[u8] {
        self.serialized.get(span.clone()).unwrap_or_default()
    }
}

fn size(number: [u8; 4]) -> usize {
    usize::try_from(u32::from_le_bytes(number)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(serialized: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let fields = Fields::from_host(serialized.to_vec());
        fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn fields_are_read_as_a_host_writes_them() {
        let written = b"\x02\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0a\0bc\0\0\xff\0";
        assert_eq!(
            read(written),
            [(b"a".to_vec(), b"bc".to_vec()), (b"".to_vec(), b"\xff".to_vec())]
        );
        let fields = Fields::new(&[(&b"a"[..], &b"bc"[..]), (b"", b"\xff")]);
        assert_eq!(fields, Fields::from_host(written.to_vec()));
        assert_eq!(read(b""), []);
    }

    #[test]
    fn bytes_that_make_no_sense_are_the_end() {
        let good = Fields::new(&[("a", "bc"), ("d", "e")]).serialized;
        for length in 0..good.len() - 1 {
            assert!(read(&good[..length]).len() < 2, "{length}");
        }
        for (at, count) in [(0, 0), (4, 0), (8, 0), (12, 1), (16, 1)] {
            let mut wrong = good.clone();
            wrong[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert_eq!(read(&wrong).len(), count, "{at}");
        }
    }
}
