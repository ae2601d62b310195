//! JSON as it goes by, byte by byte: what each byte is part of, in memory that does not grow.
//!
//! It serves for reading numbers out of documents that may be large, cut, or no JSON at all, so
//! it never fails; what is no JSON merely makes no sense.

/// Longest name of a member that is told apart from others, in bytes.
const LONGEST_NAME: usize = 24;

/// What a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The first byte of a value.
    Begin(Kind),
    /// Part of the text of a string, escapes as they are written.
    Text,
    /// A further byte of a number or of a literal.
    Scalar,
    /// Part of a member's name, or one of its quotes.
    Name,
    /// The last byte of a string, an object or an array.
    End,
    /// Nothing by itself: white space, a comma, a colon.
    Between,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Object,
    Array,
    /// A number, `true`, `false` or `null`.
    Scalar,
}

/// The name of a member; one that is longer than all known ones is like no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Name {
    bytes: [u8; LONGEST_NAME],
    length: usize,
}

impl Name {
    pub(super) fn is(&self, text: &str) -> bool {
        self.bytes.get(..self.length) == Some(text.as_bytes())
    }

    pub(super) fn is_one_of(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.is(text))
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
        }
        self.length = self.length.saturating_add(1);
    }
}

/// Where in a document the reading stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Lexer {
    /// How many objects and arrays are open.
    depth: u32,
    /// Which of the 64 outermost are objects; deeper ones count as arrays.
    objects: u64,
    inside: Inside,
    expects_name: bool,
    /// The names that lead to the current value: in the outermost object, and in one that is
    /// directly inside it.
    outer: [Name; 2],
    /// The name that was read last.
    name: Name,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Nothing,
    String {
        escaped: bool,
        is_name: bool,
    },
    Scalar,
}

impl Lexer {
    /// How many objects and arrays are open. A value's own count from its first byte to before
    /// its last.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// The name of the outermost object's member that the reading is in.
    pub(super) fn top(&self) -> &Name {
        let [top, _] = &self.outer;
        top
    }

    /// The name of the member one further inside.
    pub(super) fn second(&self) -> &Name {
        let [_, second] = &self.outer;
        second
    }

    /// The name that was read last: that of the current value, or of the array it is in.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// Whether the innermost open value is an object.
    fn in_object(&self) -> bool {
        let at = self.depth.wrapping_sub(1);
        at < u64::BITS && self.objects >> at & 1 == 1
    }

    /// Takes the next byte.
    pub(super) fn push(&mut self, byte: u8) -> Role {
        if let Inside::String { escaped, is_name } = self.inside {
            return self.in_string(byte, escaped, is_name);
        }
        match byte {
            b'"' if self.expects_name => {
                self.name = Name::default();
                self.inside = Inside::String { escaped: false, is_name: true };
                Role::Name
            }
            b'"' => {
                self.inside = Inside::String { escaped: false, is_name: false };
                Role::Begin(Kind::String)
            }
            b'{' => self.open(Kind::Object),
            b'[' => self.open(Kind::Array),
            b'}' | b']' => {
                self.inside = Inside::Nothing;
                self.depth = self.depth.saturating_sub(1);
                self.expects_name = false;
                Role::End
            }
            b',' => {
                self.inside = Inside::Nothing;
                self.expects_name = self.in_object();
                Role::Between
            }
            b':' | b' ' | b'\t' | b'\r' | b'\n' => {
                self.inside = Inside::Nothing;
                if byte == b':' {
                    self.expects_name = false;
                }
                Role::Between
            }
            _ if self.inside == Inside::Scalar => Role::Scalar,
            _ => {
                self.inside = Inside::Scalar;
                Role::Begin(Kind::Scalar)
            }
        }
    }

    fn in_string(&mut self, byte: u8, escaped: bool, is_name: bool) -> Role {
        let ends = byte == b'"' && !escaped;
        if ends {
            self.inside = Inside::Nothing;
        } else {
            let escaped = byte == b'\\' && !escaped;
            self.inside = Inside::String { escaped, is_name };
        }
        match (is_name, ends) {
            (false, false) => Role::Text,
            (false, true) => Role::End,
            (true, false) => {
                self.name.push(byte);
                Role::Name
            }
            (true, true) => {
                self.expects_name = false;
                let [top, second] = &mut self.outer;
                match self.depth {
                    1 => *top = self.name,
                    2 => *second = self.name,
                    _ => {}
                }
                Role::Name
            }
        }
    }

    fn open(&mut self, kind: Kind) -> Role {
        self.inside = Inside::Nothing;
        let is_object = kind == Kind::Object;
        if self.depth < u64::BITS {
            let bit = 1 << self.depth;
            self.objects = if is_object { self.objects | bit } else { self.objects & !bit };
        }
        let [top, second] = &mut self.outer;
        match self.depth {
            0 => *top = Name::default(),
            1 => *second = Name::default(),
            _ => {}
        }
        self.depth = self.depth.saturating_add(1);
        self.expects_name = is_object && self.depth <= u64::BITS;
        Role::Begin(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value that begins: the names that lead to it, and what it is.
    fn values(text: &str) -> Vec<(String, Kind)> {
        let mut lexer = Lexer::default();
        let shown = |name: &Name| String::from_utf8_lossy(&name.bytes[..name.length]).into_owned();
        text.bytes()
            .filter_map(|byte| match lexer.push(byte) {
                Role::Begin(kind) => {
                    let path = [lexer.top(), lexer.second(), lexer.name()].map(shown).join("/");
                    Some((path, kind))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn every_value_is_found_under_its_names() {
        let text = r#"{"a": 1, "b":{"c" : [true,"x\"y",{"d":null}]},"e":"{\"f\":1}"}"#;
        let expected = [
            ("//", Kind::Object),
            ("a//a", Kind::Scalar),
            ("b//b", Kind::Object),
            ("b/c/c", Kind::Array),
            ("b/c/c", Kind::Scalar),
            ("b/c/c", Kind::String),
            ("b/c/c", Kind::Object),
            ("b/c/d", Kind::Scalar),
            ("e/c/e", Kind::String),
        ];
        assert_eq!(values(text), expected.map(|(path, kind)| (path.to_owned(), kind)));
    }

    #[test]
    fn a_name_that_is_too_long_is_like_no_other() {
        let mut lexer = Lexer::default();
        for byte in format!("{{\"{}\":1", "usage".repeat(6)).bytes() {
            lexer.push(byte);
        }
        assert!(!lexer.name().is("usage") && !lexer.name().is(&"usage".repeat(6)));
    }

    #[test]
    fn nonsense_and_endless_nesting_harm_nothing() {
        let mut lexer = Lexer::default();
        for byte in b"]]}}\"\\".iter().chain(b"[{".repeat(1_000).iter()).chain(b"\",,::{\"a\"") {
            lexer.push(*byte);
        }
        let mut lexer = Lexer::default();
        for byte in b"[".repeat(100).iter().chain(b"{\"a\":1".iter()) {
            lexer.push(*byte);
        }
        assert_eq!(lexer.depth(), 101);
    }
}
