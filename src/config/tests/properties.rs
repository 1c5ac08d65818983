//! Properties that hold for any file and any variables.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

fn word() -> impl Strategy<Value = String> {
    let known = KEYS.iter().flat_map(|key| key.path.split('.')).collect::<Vec<_>>();
    let bits = vec![
        "{", "}", "[", "]", ": ", "- ", "\n", "\n  ", "\t", "&a ", "*a", "#", "'", "\"", "|", ">", "!!str ", "~", "? ",
    ];
    prop_oneof![3 => select(known).prop_map(str::to_owned), 3 => select(bits).prop_map(str::to_owned), 1 => "\\PC{0,3}"]
}

fn variable() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![vec(word(), 0..5).prop_map(|words| words.join("_").to_uppercase()), "\\PC*"];
    (name, prop_oneof![vec(word(), 0..6).prop_map(|words| words.concat()), any::<String>()])
        .prop_map(|(name, text)| (format!("REGISTRY_{name}"), text))
}

/// Loading does not panic, and every error is one line.
fn holds(file: Option<&[u8]>, variables: Vec<(String, String)>) {
    let file = file.map(|bytes| (Path::new("config.yml"), bytes));
    match Config::parse(Blocking::in_test(), file, variables, Flags::default()) {
        Err(error) => assert!(!error.to_string().contains(['\n', '\r', '\u{1b}']), "{error}"),
        Ok(loaded) => {
            assert!(warnings(&loaded).iter().all(|line| !line.contains(['\n', '\r', '\u{1b}'])));
            let yaml = loaded.config.to_yaml();
            let again = load(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")).config;
            assert_eq!(again.to_yaml(), yaml);
            assert_eq!(again.proxy.username.value(), loaded.config.proxy.username.value());
            assert_eq!(again.proxy.push_allowed(), loaded.config.proxy.push_allowed());
            assert_eq!(*again.auth, *loaded.config.auth);
            assert_eq!(*again.storage.rootdirectory, *loaded.config.storage.rootdirectory);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_upset_it(bytes in vec(any::<u8>(), 0..300)) {
        holds(Some(&bytes), vec![]);
    }

    #[test]
    fn no_input_panics(words in vec(word(), 0..40)) {
        holds(Some(format!("version: 0.1\n{}", words.concat()).as_bytes()), vec![]);
    }

    #[test]
    fn no_variables_upset_it(variables in vec(variable(), 0..6)) {
        holds(None, variables);
    }

    #[test]
    fn any_text_is_printed_so_that_it_is_read_again(username in any::<String>(), root in any::<String>()) {
        let variables = [
            ("REGISTRY_PROXY_USERNAME", username),
            ("REGISTRY_PROXY_PASSWORD", "b".to_owned()),
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root),
        ];
        holds(None, variables.map(|(name, text)| (name.to_owned(), text)).to_vec());
    }
}
