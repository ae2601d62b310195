//! Placeholders in a declarative file, by decK's convention: `${{ env "DECK_NAME" }}`.

use std::{collections::BTreeSet, ffi::OsString};

/// How a placeholder begins.
const OPEN: &str = "${{";
/// How it ends.
const CLOSE: &str = "}}";
/// How the names of variables begin. decK fills in no others.
const PREFIX: &str = "DECK_";

/// A file cannot be filled in. No value is ever quoted: it may be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// What is between the braces is not understood.
    #[error("line {line}: expected ${{{{ env \"DECK_NAME\" }}}}, found another placeholder")]
    Placeholder {
        /// Where it begins, counted from 1.
        line: usize,
    },
    /// Variables that are not set, or empty.
    #[error("it asks for {}, of which the environment has no value", .0.join(", "))]
    Missing(Vec<String>),
    /// A value that could change more of the file than its own place.
    #[error(
        "{variable}: expected letters, digits and -._~:/?@%+,=& with a letter, a digit, - or _ at its \
         start, found something else"
    )]
    Unfit {
        /// Whose value it is.
        variable: String,
    },
}

/// A part of a template.
enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// The file that `template` becomes in an environment.
pub fn render(
    template: &str,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<String, TemplateError> {
    let mut rendered = String::with_capacity(template.len());
    let mut missing = BTreeSet::new();
    for piece in pieces(template)? {
        let name = match piece {
            Piece::Text(text) => {
                rendered.push_str(text);
                continue;
            }
            Piece::Variable(name) => name,
        };
        match environment(name).filter(|value| !value.is_empty()) {
            None => {
                missing.insert(name.to_owned());
            }
            Some(value) => match value.to_str().filter(|value| fits(value)) {
                Some(value) => rendered.push_str(value),
                None => return Err(TemplateError::Unfit { variable: name.to_owned() }),
            },
        }
    }
    if missing.is_empty() {
        Ok(rendered)
    } else {
        Err(TemplateError::Missing(missing.into_iter().collect()))
    }
}

/// The names of the variables that `template` asks for.
pub fn variables(template: &str) -> Result<BTreeSet<&str>, TemplateError> {
    let named = pieces(template)?.into_iter().filter_map(|piece| match piece {
        Piece::Text(_) => None,
        Piece::Variable(name) => Some(name),
    });
    Ok(named.collect())
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let (mut pieces, mut rest, mut line) = (Vec::new(), template, 1);
    while let Some((before, after)) = rest.split_once(OPEN) {
        line += before.matches('\n').count();
        let unlike = TemplateError::Placeholder { line };
        let (inside, after) = after.split_once(CLOSE).ok_or_else(|| unlike.clone())?;
        pieces.extend([Piece::Text(before), Piece::Variable(variable(inside).ok_or(unlike)?)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// The name in `env "NAME"`.
fn variable(inside: &str) -> Option<&str> {
    let name = inside.trim().strip_prefix("env \"")?.strip_suffix('"')?;
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (name.starts_with(PREFIX) && name.bytes().all(fits)).then_some(name)
}

/// Whether `value` stays one scalar of YAML, or several between commas, wherever it is put.
fn fits(value: &str) -> bool {
    let starts = |first: u8| first.is_ascii_alphanumeric() || b"-_".contains(&first);
    value.bytes().next().is_some_and(starts)
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?@%+,=&".contains(&b))
        && !value.ends_with(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, values: &[(&str, &str)]) -> Result<String, TemplateError> {
        let value = |name: &str| values.iter().find(|(known, _)| *known == name);
        render(template, |name| value(name).map(|(_, value)| value.into()))
    }

    #[test]
    fn every_placeholder_becomes_the_value_of_its_variable() {
        let template =
            "a: ${{ env \"DECK_A\" }}\nb: [\"${{env \"DECK_B\"}}\", ${{ env \"DECK_A\" }}]\n";
        let values = [("DECK_A", "http://a:1/x?y=%20"), ("DECK_B", "-_9")];
        let expected = "a: http://a:1/x?y=%20\nb: [\"-_9\", http://a:1/x?y=%20]\n";
        assert_eq!(rendered(template, &values).unwrap(), expected);
        assert_eq!(variables(template).unwrap(), BTreeSet::from(["DECK_A", "DECK_B"]));
    }

    #[test]
    fn all_variables_without_a_value_are_named_in_one_sentence() {
        let template = "${{ env \"DECK_B\" }} ${{ env \"DECK_A\" }} ${{ env \"DECK_C\" }}";
        let error = rendered(template, &[("DECK_B", ""), ("DECK_C", "c")]).unwrap_err();
        assert_eq!(error, TemplateError::Missing(vec!["DECK_A".to_owned(), "DECK_B".to_owned()]));
        assert!(error.to_string().contains("asks for DECK_A, DECK_B, of which"), "{error}");
    }

    #[test]
    fn what_is_no_placeholder_of_ours_is_an_error_with_its_line() {
        for bad in [
            "${{ env \"DECK_A\"",
            "${{ env \"PATH\" }}",
            "${{ env \"DECK_a\" }}",
            "${{ env DECK_A }}",
            "${{ DECK_A }}",
        ] {
            let error = rendered(&format!("x\n\n{bad}"), &[("DECK_A", "a")]).unwrap_err();
            assert_eq!(error, TemplateError::Placeholder { line: 3 }, "{bad}");
        }
    }

    #[test]
    fn a_value_that_could_change_the_file_around_it_is_refused_and_not_quoted() {
        for bad in [
            "SECRET\nplugins: []",
            "SECRET #",
            "SECRET: x",
            "\"SECRET",
            "{SECRET}",
            "&SECRET",
            "SECRET:",
            "[]",
            "ü",
        ] {
            let error = rendered("a: ${{ env \"DECK_A\" }}", &[("DECK_A", bad)]).unwrap_err();
            assert_eq!(error, TemplateError::Unfit { variable: "DECK_A".to_owned() }, "{bad}");
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }
}
