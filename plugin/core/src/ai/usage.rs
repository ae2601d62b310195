//! The tokens that a provider says it counted.

use serde::Deserialize;

/// Tokens as providers charge them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// What was sent, with what came from the provider's cache.
    pub input: u64,
    /// Of the input, what came from the provider's cache.
    pub cached: u64,
    /// What was made, with what the model only thought.
    pub output: u64,
    /// Of the output, what the model only thought.
    pub reasoning: u64,
    /// Of both, what is sound.
    pub audio: u64,
}

impl Usage {
    /// Reads the `usage` member of a provider's answer; `None` if it is no usage.
    ///
    /// Chat Completions and what came before it call the numbers otherwise than Responses does.
    /// Gemini leaves the tokens of its thoughts out of `completion_tokens` and counts them in
    /// `total_tokens` only; they are charged as output, and so they are counted here.
    #[must_use]
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let raw: RawUsage = serde_json::from_slice(json).ok()?;
        let input = raw.prompt_tokens.or(raw.input_tokens);
        let output = raw.completion_tokens.or(raw.output_tokens);
        if input.is_none() && output.is_none() && raw.total_tokens.is_none() {
            return None;
        }
        let input = input.unwrap_or_default();
        let told = output.unwrap_or_default();
        let total = raw.total_tokens.unwrap_or_default();
        let output = told.max(total.saturating_sub(input));
        let of_input = raw.prompt_tokens_details.or(raw.input_tokens_details).unwrap_or_default();
        let of_output =
            raw.completion_tokens_details.or(raw.output_tokens_details).unwrap_or_default();
        let audio = of_input.audio_tokens.unwrap_or_default();
        Some(Self {
            input,
            cached: of_input.cached_tokens.unwrap_or_default().min(input),
            output,
            reasoning: of_output
                .reasoning_tokens
                .unwrap_or_default()
                .max(output - told)
                .min(output),
            audio: audio.saturating_add(of_output.audio_tokens.unwrap_or_default()),
        })
    }

    /// The larger number of each: usage that a stream repeats grows, it does not add up.
    #[must_use]
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cached: self.cached.max(other.cached),
            output: self.output.max(other.output),
            reasoning: self.reasoning.max(other.reasoning),
            audio: self.audio.max(other.audio),
        }
    }
}

#[derive(Deserialize)]
struct RawUsage {
    prompt_tokens: Option<u64>,
    input_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
}

#[derive(Deserialize, Default)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, cached: u64, output: u64, reasoning: u64, audio: u64) -> Option<Usage> {
        Some(Usage { input, cached, output, reasoning, audio })
    }

    #[test]
    fn every_dialect_of_usage_is_understood() {
        for (json, expected) in [
            // Chat Completions.
            (
                r#"{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,
                    "prompt_tokens_details":{"cached_tokens":8,"audio_tokens":2},
                    "completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":1,
                        "accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#,
                usage(19, 8, 10, 4, 3),
            ),
            // Responses.
            (
                r#"{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87,
                    "output_tokens_details":{"reasoning_tokens":64},"total_tokens":123}"#,
                usage(36, 0, 87, 64, 0),
            ),
            // Embeddings.
            (r#"{"prompt_tokens":8,"total_tokens":8}"#, usage(8, 0, 0, 0, 0)),
            // Gemini, whose thoughts are in the total only, or told as well.
            (
                r#"{"prompt_tokens":20,"completion_tokens":151,"total_tokens":553}"#,
                usage(20, 0, 533, 382, 0),
            ),
            (
                r#"{"prompt_tokens":21,"completion_tokens":0,"total_tokens":81,
                    "completion_tokens_details":{"reasoning_tokens":60}}"#,
                usage(21, 0, 60, 60, 0),
            ),
            // Ollama.
            (
                r#"{"prompt_tokens":26,"completion_tokens":298,"total_tokens":324}"#,
                usage(26, 0, 298, 0, 0),
            ),
            // Details that are null, and members that nobody knows yet.
            (
                r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,
                    "prompt_tokens_details":null,"queue_time":0.1}"#,
                usage(1, 0, 2, 0, 0),
            ),
        ] {
            assert_eq!(Usage::read(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn what_is_no_usage_is_not_taken_for_one() {
        for json in
            ["null", "{}", "[]", "7", r#"{"prompt_tokens":-1}"#, r#"{"prompt_tokens":"7"}"#, ""]
        {
            assert_eq!(Usage::read(json.as_bytes()), None, "{json}");
        }
    }
}
