//! A provider's answer on its way to the client: what it tells is read, and of a stream the one
//! event is taken out that the client did not ask for. Every other byte passes as it came.

use super::{estimate::Weight, events::Events, reading::Reading, usage::Usage};

/// What a provider's answer told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The provider's own numbers, if it sent any.
    pub usage: Option<Usage>,
    /// Whether these numbers came last: before that, a provider tells what it has counted so far.
    pub usage_is_final: bool,
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// Why the model stopped, in the provider's words.
    pub finish: Option<String>,
    /// Whether the provider told of an error.
    pub failed: bool,
    /// Whether a stream came to the end that its format has.
    pub complete: bool,
    /// How many tokens the model made, estimated from what passed.
    pub made: u64,
}

/// What becomes of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passes {
    /// The client gets it as it is.
    AsItIs,
    /// The client gets this instead.
    Instead(Vec<u8>),
}

/// What becomes of the usage in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hides {
    /// The client asked for it, if it is there at all.
    Nothing,
    /// It was asked for in the client's place, and is taken out here.
    Here,
    /// The same, but nothing can be taken out here: the second pass has made a comment of it,
    /// which is read all the same.
    Before,
}

/// An answer that goes by.
#[derive(Debug)]
pub struct Answer {
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// A stream of events.
    Events(Box<Events>),
    /// One JSON document.
    Document(Box<Reading>),
    /// Nothing that can be read: compressed, or of another type.
    Opaque,
}

impl Answer {
    /// An answer with these headers.
    #[must_use]
    pub fn begin(content_type: &[u8], content_encoding: Option<&[u8]>, hides: Hides) -> Self {
        let plain = content_encoding
            .is_none_or(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"identity"));
        let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
        let media_type = media_type.trim_ascii().to_ascii_lowercase();
        let form = match media_type.as_slice() {
            b"text/event-stream" if plain => Form::Events(Box::new(Events::new(hides))),
            b"application/json" if plain => Form::Document(Box::default()),
            _ => Form::Opaque,
        };
        Self { form }
    }

    /// The next chunk goes by; the last one if `ends`.
    #[must_use]
    pub fn take(&mut self, chunk: &[u8], ends: bool) -> Passes {
        match &mut self.form {
            Form::Events(events) => events.take(chunk, ends),
            Form::Document(reading) => {
                chunk.iter().for_each(|byte| reading.push(*byte));
                Passes::AsItIs
            }
            Form::Opaque => Passes::AsItIs,
        }
    }

    /// Whether it has told all that it will, even if the client is still to get the rest.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match &self.form {
            Form::Events(events) => events.is_over(),
            Form::Document(reading) => reading.is_closed(),
            Form::Opaque => false,
        }
    }

    /// What the answer told until now.
    #[must_use]
    pub fn told(&self) -> Told {
        match &self.form {
            Form::Events(events) => events.told(),
            Form::Document(reading) => {
                let mut told = Told { complete: true, ..Told::default() };
                told.add(reading, &mut Weight::default());
                told.usage_is_final = told.usage.is_some();
                told
            }
            Form::Opaque => Told::default(),
        }
    }
}

impl Told {
    /// Adds what one document told; `made` is the weight of everything so far.
    pub(super) fn add(&mut self, reading: &Reading, made: &mut Weight) {
        self.usage = self.usage.into_iter().chain(reading.usage).reduce(Usage::max);
        for (known, new) in [(&mut self.id, &reading.id), (&mut self.finish, &reading.finish)] {
            if new.is_some() {
                known.clone_from(new);
            }
        }
        self.failed |= reading.failed;
        let last = reading.is_usage_only() || reading.finish.is_some();
        self.usage_is_final |= reading.usage.is_some() && last;
        made.join(reading.made);
        self.made = made.tokens();
    }
}

#[cfg(test)]
mod tests;
