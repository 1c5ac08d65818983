//! A parser for `WWW-Authenticate` (RFC 9110, section 11.6.1). One header may contain several challenges, separated by
//! the same commas as the parameters of one challenge.

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `bearer`, `basic` or another scheme, in lower case.
    pub scheme: String,
    params: Vec<(String, String)>,
}

impl Challenge {
    /// Returns a parameter by its name in lower case.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns every challenge of a header, up to the first that cannot be parsed.
    #[must_use]
    pub fn parse(header: &str) -> Vec<Self> {
        let mut scanner = Scanner { rest: header };
        let mut challenges: Vec<Self> = Vec::new();
        loop {
            scanner.skip(|c| c == ',' || c.is_ascii_whitespace());
            let Some(word) = scanner.token() else { return challenges };
            match (scanner.value(), challenges.last_mut()) {
                (Some(value), Some(challenge)) => challenge.params.push((word.to_ascii_lowercase(), value)),
                (Some(_), None) => return challenges,
                (None, _) => {
                    challenges.push(Self { scheme: word.to_ascii_lowercase(), params: Vec::new() });
                    scanner.token68();
                }
            }
        }
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(unwanted);
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> Option<&'a str> {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!taken.is_empty()).then_some(taken)
    }

    fn token(&mut self) -> Option<&'a str> {
        self.take(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    }

    /// Parses `=` and a token or a quoted string, with optional blanks. Consumes nothing if the word before was a
    /// scheme.
    fn value(&mut self) -> Option<String> {
        let rest = self.rest.trim_start().strip_prefix('=')?.trim_start();
        if let Some(quoted) = rest.strip_prefix('"') {
            self.rest = quoted;
            return Some(self.quoted());
        }
        self.rest = rest;
        // Accepts more than a token: some servers send realms without quotes.
        Some(self.take(|c| c != ',' && !c.is_ascii_whitespace()).unwrap_or_default().to_owned())
    }

    /// Parses up to the closing quote, or to the end if it is missing.
    fn quoted(&mut self) -> String {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => text.extend(chars.next()),
                c => text.push(c),
            }
        }
        self.rest = chars.as_str();
        text
    }

    /// Skips the bare credentials (token68) that some schemes have in place of parameters, as in `Negotiate YII=`.
    fn token68(&mut self) {
        let trimmed = self.rest.trim_start();
        let end = trimmed.find([',', ' ']).unwrap_or(trimmed.len());
        let word = &trimmed[..end];
        let bare = word.trim_end_matches('=');
        let next_is_equals = trimmed[end..].trim_start().starts_with('=');
        if !next_is_equals && !bare.contains(['=', '"']) {
            self.rest = &trimmed[end..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schemes(header: &str) -> Vec<String> {
        Challenge::parse(header).into_iter().map(|challenge| challenge.scheme).collect()
    }

    #[test]
    fn reads_the_hubs() {
        let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/ubuntu:pull,push""#;
        let [challenge] = &Challenge::parse(header)[..] else { panic!("one challenge") };
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(challenge.param("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(challenge.param("service"), Some("registry.docker.io"));
        assert_eq!(challenge.param("scope"), Some("repository:library/ubuntu:pull,push"));
        assert_eq!(challenge.param("error"), None);
    }

    #[test]
    fn reads_several_in_one_header() {
        let found = Challenge::parse(
            r#"Negotiate YII=, basic Realm = "a \"b\", c" , BEARER realm=https://x/t?a=b, service="s""#,
        );
        assert_eq!(found.iter().map(|c| c.scheme.as_str()).collect::<Vec<_>>(), ["negotiate", "basic", "bearer"]);
        assert_eq!(found[1].param("realm"), Some("a \"b\", c"));
        assert_eq!(found[2].param("realm"), Some("https://x/t?a=b"));
        assert_eq!(found[2].param("service"), Some("s"));
    }

    #[test]
    fn a_scheme_may_stand_alone() {
        assert_eq!(schemes("Basic"), ["basic"]);
        assert_eq!(schemes("Negotiate, Basic realm=x"), ["negotiate", "basic"]);
        assert_eq!(schemes(",, Basic realm=\"\" ,"), ["basic"]);
    }

    #[test]
    fn rubbish_is_no_challenge() {
        for rubbish in ["", "=", "realm=\"x\"", "\"", "ä", ","] {
            assert_eq!(Challenge::parse(rubbish), [], "{rubbish}");
        }
        assert_eq!(Challenge::parse("Bearer realm=\"open").first().and_then(|c| c.param("realm")), Some("open"));
    }

    proptest! {
        #[test]
        fn never_panics(header in "\\PC*", pieces in proptest::collection::vec("[a-zB ,=\"\\\\]{0,4}", 0..12)) {
            let _ = Challenge::parse(&header);
            let _ = Challenge::parse(&pieces.concat());
        }

        #[test]
        fn finds_what_was_written(realm in "[ -~]{0,20}", service in "[a-z.]{1,10}") {
            let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
            let found = Challenge::parse(&format!("Basic realm=\"x\", Bearer realm=\"{quoted}\",service={service}"));
            prop_assert_eq!(found.len(), 2);
            prop_assert_eq!(found[1].param("realm"), Some(realm.as_str()));
            prop_assert_eq!(found[1].param("service"), Some(service.as_str()));
        }
    }
}
