//! What an operator gives Kong: one declarative file, with placeholders for what differs from place
//! to place.

pub mod policies;
pub mod template;
