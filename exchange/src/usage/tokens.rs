//! What a call used, as far as anybody can believe it.

use kombi_spec::usage::{MAX_TOKENS, settle};

/// What a call used, in tokens, each at most [`MAX_TOKENS`]; the parts are no larger than what
/// they are parts of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) input: u32,
    pub(super) cached: u32,
    pub(super) output: u32,
    pub(super) reasoning: u32,
    pub(super) audio: u32,
}

/// A number of tokens, if it is one that a call can have.
pub(super) fn count(tokens: u64) -> Option<u32> {
    u32::try_from(tokens).ok().filter(|_| tokens <= MAX_TOKENS)
}

impl Tokens {
    /// Reads what the gate says. A part that is larger than the whole is the provider's mistake,
    /// and no reason to lose the call: it is cut to the whole.
    pub(super) fn parse(wire: settle::Tokens) -> Option<Self> {
        let (input, output) = (count(wire.input)?, count(wire.output)?);
        Some(Self {
            input,
            cached: count(wire.cached)?.min(input),
            output,
            reasoning: count(wire.reasoning)?.min(output),
            audio: count(wire.audio)?.min(input.saturating_add(output)),
        })
    }

    /// What counts against a quota of tokens.
    pub(super) fn total(self) -> i64 {
        i64::from(self.input) + i64::from(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_to_their_whole_and_impossible_numbers_refused() {
        let wire = |input, cached, output, reasoning, audio| settle::Tokens {
            input,
            cached,
            output,
            reasoning,
            audio,
        };
        let read =
            |wire| Tokens::parse(wire).map(|t| [t.input, t.cached, t.output, t.reasoning, t.audio]);
        assert_eq!(read(wire(5, 2, 7, 3, 1)), Some([5, 2, 7, 3, 1]));
        assert_eq!(read(wire(5, 6, 7, 8, 13)), Some([5, 5, 7, 7, 12]));
        assert_eq!(read(wire(0, 0, 0, 0, 0)), Some([0; 5]));
        let most = MAX_TOKENS;
        assert!(read(wire(most, most, most, most, most)).is_some());
        for place in 0..5 {
            let mut numbers = [1; 5];
            numbers[place] = most + 1;
            let [a, b, c, d, e] = numbers;
            assert_eq!(read(wire(a, b, c, d, e)), None, "{place}");
        }
    }
}
