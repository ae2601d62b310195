//! A stream of server-sent events (HTML Living Standard, "Interpreting an event stream"), read as
//! it goes by. Lines end with LF, CR, or both; events with an empty line.

use super::{
    answer::{Hides, Passes, Told},
    estimate::Weight,
    reading::Reading,
};

/// Longest event that is held until its end is there, in bytes. One that is longer is no mere
/// usage, which has a few hundred, and passes as it comes.
const LONGEST_HELD: usize = 16 * 1024;

/// The name of the field that carries data, with its colon.
const DATA: &[u8] = b"data:";

/// The data that ends a stream of Chat Completions.
const DONE: &[u8] = b"[DONE]";

/// A stream that goes by.
#[derive(Debug)]
pub(super) struct Events {
    /// The event that is not complete yet, where the one with usage must be taken out.
    held: Option<Held>,
    /// Whether data in a comment is data.
    reads_comments: bool,
    line: Line,
    /// Whether the last byte was a CR: an LF then belongs to it.
    after_cr: bool,
    event: Event,
    told: Told,
    made: Weight,
}

/// Where in its line the reading stands.
#[derive(Debug, Clone, Copy)]
enum Line {
    /// At the beginning.
    Start,
    /// After so many bytes of `data:`.
    Field(usize),
    /// Just behind the colon, where one space may be.
    BeforeData,
    Data,
    /// In a line that tells nothing.
    Other,
}

/// The event that goes by.
#[derive(Debug, Default)]
struct Event {
    reading: Reading,
    has_data: bool,
    /// How many bytes of its data are those of `[DONE]`; none if another was among them.
    done: Option<usize>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// Part of the event has passed already, so the rest must pass, too.
    passes: bool,
    /// The event before this one was taken out up to its CR: the LF of it has to go, too.
    drops_lf: bool,
}

/// What a byte was for the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Part of an event.
    Event,
    /// The last of an event.
    EventEnd,
    /// The second half of a line end.
    LineFeed,
}

impl Events {
    /// A stream from its beginning.
    pub(super) fn new(hides: Hides) -> Self {
        Self {
            held: (hides == Hides::Here).then(Held::default),
            reads_comments: hides == Hides::Before,
            line: Line::Start,
            after_cr: false,
            event: Event::default(),
            told: Told::default(),
            made: Weight::default(),
        }
    }

    /// What the stream told until now, with the event that is not complete yet.
    pub(super) fn told(&self) -> Told {
        let mut told = self.told.clone();
        told.add(&self.event.reading, &mut self.made.clone());
        told
    }

    /// Whether the stream came to the end that its format has.
    pub(super) fn is_over(&self) -> bool {
        self.told.complete
    }

    pub(super) fn take(&mut self, chunk: &[u8], ends: bool) -> Passes {
        let Some(mut held) = self.held.take() else {
            for byte in chunk {
                if self.push(*byte) == Part::EventEnd {
                    self.end_event();
                }
            }
            return Passes::AsItIs;
        };
        let mut passed = Vec::with_capacity(chunk.len());
        for byte in chunk {
            match self.push(*byte) {
                // The LF of an event that is through already, or was taken out.
                Part::LineFeed if held.bytes.is_empty() && !held.passes => {
                    if !std::mem::take(&mut held.drops_lf) {
                        passed.push(*byte);
                    }
                }
                Part::Event | Part::LineFeed => held.push(*byte, &mut passed),
                Part::EventEnd => {
                    held.push(*byte, &mut passed);
                    let drops = self.end_event() && !held.passes;
                    if !drops {
                        passed.append(&mut held.bytes);
                    }
                    held = Held { drops_lf: drops && *byte == b'\r', ..Held::default() };
                }
            }
        }
        if ends {
            passed.append(&mut held.bytes);
        }
        self.held = Some(held);
        if passed == chunk { Passes::AsItIs } else { Passes::Instead(passed) }
    }

    fn push(&mut self, byte: u8) -> Part {
        if byte == b'\n' && std::mem::take(&mut self.after_cr) {
            return Part::LineFeed;
        }
        self.after_cr = byte == b'\r';
        if matches!(byte, b'\r' | b'\n') {
            let empty = matches!(self.line, Line::Start);
            self.line = Line::Start;
            return if empty { Part::EventEnd } else { Part::Event };
        }
        match self.line {
            Line::Start if byte == b':' && self.reads_comments => self.line = Line::Field(0),
            Line::Start if DATA.first() == Some(&byte) => self.line = Line::Field(1),
            Line::Field(read) if DATA.get(read) == Some(&byte) => {
                self.line = Line::Field(read + 1);
                if read + 1 == DATA.len() {
                    self.line = Line::BeforeData;
                    self.event.next_line();
                }
            }
            Line::Start | Line::Field(_) => self.line = Line::Other,
            Line::BeforeData if byte == b' ' => self.line = Line::Data,
            Line::BeforeData | Line::Data => {
                self.line = Line::Data;
                self.event.data(byte);
            }
            Line::Other => {}
        }
        Part::Event
    }

    /// Notes what the event told. Returns whether it was usage and nothing else.
    fn end_event(&mut self) -> bool {
        let event = std::mem::take(&mut self.event);
        let ends_response = event.reading.kind.as_deref().is_some_and(|kind| {
            matches!(kind, "response.completed" | "response.incomplete" | "response.failed")
        });
        self.told.complete |= ends_response || event.done == Some(DONE.len());
        self.told.add(&event.reading, &mut self.made);
        event.reading.is_usage_only()
    }
}

impl Event {
    /// Lines of data are joined by line feeds.
    fn next_line(&mut self) {
        if self.has_data {
            self.data(b'\n');
        } else {
            (self.has_data, self.done) = (true, Some(0));
        }
    }

    fn data(&mut self, byte: u8) {
        self.reading.push(byte);
        self.done = self.done.filter(|read| DONE.get(*read) == Some(&byte)).map(|read| read + 1);
    }
}

impl Held {
    /// One more byte of the event, which passes on at once if it cannot be held.
    fn push(&mut self, byte: u8, passed: &mut Vec<u8>) {
        self.drops_lf = false;
        if self.passes {
            passed.push(byte);
            return;
        }
        self.bytes.push(byte);
        if self.bytes.len() > LONGEST_HELD {
            passed.append(&mut self.bytes);
            self.passes = true;
        }
    }
}
