//! A path that a route takes.

use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

/// A path that the route's `path` matches: itself if it is a prefix, else one that its regular
/// expression (after a `~`, in the dialect that Kong's router reads) is about. `None` if it is
/// none, or of bytes that no path has.
pub(super) fn path(path: &str) -> Option<String> {
    let Some(expression) = path.strip_prefix('~') else { return Some(path.to_owned()) };
    let mut sample = Vec::new();
    write(&regex_syntax::parse(expression).ok()?, &mut sample)?;
    String::from_utf8(sample).ok()
}

fn write(part: &Hir, sample: &mut Vec<u8>) -> Option<()> {
    match part.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => sample.extend_from_slice(&literal.0),
        HirKind::Class(Class::Unicode(class)) => {
            // A letter is more like an id than the first of the class.
            let letter = class.iter().find(|range| range.start() <= 'a' && 'a' <= range.end());
            let first = || class.iter().next().map(ClassUnicodeRange::start);
            let one = letter.map_or_else(first, |_| Some('a'));
            sample.extend_from_slice(one?.encode_utf8(&mut [0; 4]).as_bytes());
        }
        HirKind::Class(Class::Bytes(class)) => sample.push(class.iter().next()?.start()),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX);
            for _ in 0..repetition.min.max(1).min(most) {
                write(&repetition.sub, sample)?;
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, sample)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, sample))?,
        HirKind::Alternation(ways) => write(ways.first()?, sample)?,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_sample_is_what_the_route_is_about() {
        for (declared, sample) in [
            ("/user", "/user"),
            ("~/sso/instances/[a-z0-9-]+/session$", "/sso/instances/a/session"),
            ("~/me/usage$", "/me/usage"),
            (r"~/a/(?<id>\d{3})(/b)?", "/a/000/b"),
            ("~/(x|y)/z", "/x/z"),
        ] {
            assert_eq!(path(declared).as_deref(), Some(sample), "{declared}");
        }
        assert_eq!(path("~/a("), None);
    }
}
