//! Variables in a compose file's values: compose-spec, "Interpolation".

/// The deepest nesting of variables in defaults.
const MAX_DEPTH: usize = 16;

/// The reason that a value cannot be interpolated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidVariable {
    /// A `$` without a name, or an unclosed `${`.
    #[error("expected $NAME, ${{NAME}}, ${{NAME:-default}} or, for a plain dollar sign, $$")]
    Form,
    /// `${NAME:?message}`, and the variable is not set.
    #[error("the variable {name} is not set: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The file's own message.
        message: String,
    },
}

/// Replaces the variables in `text`; one that is not set is replaced by nothing.
///
/// # Errors
/// [`InvalidVariable`] for the first variable that is malformed or required.
pub(super) fn interpolate(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, InvalidVariable> {
    expand(text, environment, 0)
}

fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>, depth: usize) -> Result<String, InvalidVariable> {
    if depth > MAX_DEPTH {
        return Err(InvalidVariable::Form);
    }
    let (mut expanded, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let end = closing(after).ok_or(InvalidVariable::Form)?;
            expanded.push_str(&braced(&after[..end], environment, depth)?);
            rest = &after[end + 1..];
        } else {
            let name = name(after).ok_or(InvalidVariable::Form)?;
            expanded.push_str(&environment(name).unwrap_or_default());
            rest = &after[name.len()..];
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Expands the content of `${…}`.
fn braced(
    content: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) -> Result<String, InvalidVariable> {
    let name = name(content).ok_or(InvalidVariable::Form)?;
    let operation = &content[name.len()..];
    // A colon makes an empty variable count as not set.
    let (operation, counts_empty) = operation.strip_prefix(':').map_or((operation, true), |rest| (rest, false));
    let value = environment(name).filter(|value| counts_empty || !value.is_empty());
    let word = operation.get(1..).unwrap_or_default();
    match (operation.chars().next(), value) {
        (None, value) if counts_empty => Ok(value.unwrap_or_default()),
        (Some('-' | '?'), Some(value)) => Ok(value),
        (Some('-'), None) | (Some('+'), Some(_)) => expand(word, environment, depth + 1),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) => {
            let message = expand(word, environment, depth + 1)?;
            Err(InvalidVariable::Required { name: name.to_owned(), message })
        }
        _ => Err(InvalidVariable::Form),
    }
}

/// Returns the name that a text begins with.
fn name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0 && !text.starts_with(|c: char| c.is_ascii_digit())).then(|| &text[..end])
}

/// Returns the offset of the brace that closes one which is open.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, InvalidVariable> {
        interpolate(text, &|name| match name {
            "TAG" => Some("7".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn every_form_of_the_specification_is_expanded() {
        for (text, wanted) in [
            ("nginx", "nginx"),
            ("redis:$TAG-alpine", "redis:7-alpine"),
            ("redis:${TAG}", "redis:7"),
            ("${NONE:-a}:${TAG:-b}", "a:7"),
            ("${EMPTY:-a}|${EMPTY-a}|${NONE-a}", "a||a"),
            ("${TAG:+a}|${EMPTY:+a}|${EMPTY+a}|${NONE+a}", "a||a|"),
            ("${TAG:?needed}${TAG?}", "77"),
            ("${NONE:-${OTHER:-${TAG}}}", "7"),
            ("${NONE}$NONE", ""),
            ("$$TAG", "$TAG"),
            ("${NONE:-a:b-c}", "a:b-c"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_or_required_is_refused() {
        for text in ["$", "a$", "${", "${}", "${TAG", "${TAG:}", "${TAG=a}", "$-", "${1}", "${TAG:=a}"] {
            assert_eq!(expanded(text), Err(InvalidVariable::Form), "{text}");
        }
        assert_eq!(expanded(&format!("{}x{}", "${A:-".repeat(99), "}".repeat(99))), Err(InvalidVariable::Form));
        let error = expanded("${NONE:?say which}").unwrap_err();
        assert_eq!(error.to_string(), "the variable NONE is not set: say which");
    }
}
