//! How many tokens a text has, roughly: for budgets before a model has counted, and for answers
//! that nobody counted.
//!
//! A tokenizer would need its vocabulary, a megabyte and more for each family of models. Kinds of
//! characters tell enough: prose in Latin letters has four to five of them to a token, code and
//! numbers have fewer, and the further a script is from Latin the more tokens a character takes.

/// Parts that a token is counted in, so that sums are of whole numbers.
const PARTS: u64 = 60;

/// What one image, sound or file counts, because its bytes do not tell its size in tokens: about
/// twice what a picture of 1024 by 1024 pixels costs at full detail.
const ATTACHMENT: u64 = 1_500;

/// The weight of the text seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    parts: u64,
    escape: Escape,
}

/// Where in an escape sequence (RFC 8259 section 7) the text stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    /// So many hexadecimal digits are left.
    Digits(u8),
}

impl Weight {
    /// Adds one byte of a JSON string as it is written.
    pub(super) fn add(&mut self, byte: u8) {
        match self.escape {
            Escape::None => {}
            Escape::Begun => {
                self.escape = if byte == b'u' { Escape::Digits(4) } else { Escape::None };
                return;
            }
            Escape::Digits(left) => {
                self.escape = if left > 1 { Escape::Digits(left - 1) } else { Escape::None };
                return;
            }
        }
        let parts = match byte {
            b'\\' => {
                self.escape = Escape::Begun;
                36
            }
            b'a'..=b'z' | b'A'..=b'Z' | b' ' => 13,
            b'0'..=b'9' => 24,
            0x00..=0x7f => 36,
            // A character counts with its first byte.
            0x80..=0xbf => 0,
            0xc0..=0xdf => 20,
            0xe0..=0xef => 42,
            0xf0..=0xff => 120,
        };
        self.parts = self.parts.saturating_add(parts);
    }

    /// Adds whole tokens.
    pub(super) fn add_tokens(&mut self, tokens: u64) {
        self.parts = self.parts.saturating_add(tokens.saturating_mul(PARTS));
    }

    /// Adds what another text weighs.
    pub(super) fn join(&mut self, other: Self) {
        self.parts = self.parts.saturating_add(other.parts);
    }

    /// Adds something that is no text.
    pub(super) fn add_attachment(&mut self) {
        self.add_tokens(ATTACHMENT);
    }

    /// The estimate; at least one token for any text at all.
    pub(super) fn tokens(self) -> u64 {
        self.parts.div_ceil(PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> u64 {
        let mut weight = Weight::default();
        text.bytes().for_each(|byte| weight.add(byte));
        weight.tokens()
    }

    /// Counts of the tokenizer o200k_base.
    #[test]
    fn the_estimate_is_near_what_a_tokenizer_counts() {
        for (text, counted) in [
            ("The quick brown fox jumps over the lazy dog", 9),
            (r#"fn main() { println!("{}", 1 + 1); }"#, 13),
            ("2026-11-24", 6),
            ("私はガラスを食べられます。", 10),
            ("Der schnelle braune Fuchs springt über den faulen Hund.", 14),
            ("Съешь же ещё этих мягких французских булок", 12),
            (
                "If two sentences follow each other, they are usually about one thing; a \
                 paragraph, then, is a list of such sentences, and a text is a list of paragraphs.",
                35,
            ),
            (r#"{"city":"Paris","unit":"celsius","days":[1,2,3]}"#, 18),
            ("人工智能正在改变世界，许多公司都在投资。", 13),
        ] {
            let (found, off) = (tokens(text), counted / 6 + 1);
            assert!(found.abs_diff(counted) <= off, "{text}: {found}, not {counted}");
        }
    }

    #[test]
    fn an_escape_is_one_character() {
        assert_eq!(tokens("\\n"), 1);
        assert_eq!(tokens("\\u00e9\\u00e9"), tokens("!!"));
        assert_eq!(tokens("\\\\a"), tokens("!a"));
        assert_eq!(tokens("\\u00e9 and more"), tokens("! and more"));
        assert_eq!((tokens(""), tokens("a")), (0, 1));
    }
}
