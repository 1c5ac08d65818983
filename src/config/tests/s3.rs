//! The section `storage.s3`: its keys, its defaults, and what is wrong with one.

use url::Url;

use super::*;
use crate::config::used_s3_keys::S3_KEYS;

/// A bucket in the file and an environment; the file's section stands at line 3.
fn read_s3(section: &str, environment: &[(&str, &str)]) -> Result<Option<(S3Config, Vec<Warning>)>, Error> {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("config.yml");
    std::fs::File::create(&file).unwrap().write_all(format!("version: 0.1\nstorage:\n{section}").as_bytes()).unwrap();
    let environment: Vec<_> = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Config::s3(Blocking::in_test(), Some(&file), &environment)
}

fn s3(keys: &str) -> S3Config {
    read_s3(&format!("  s3: {{bucket: b, region: r, accesskey: k, secretkey: s{keys}}}"), &[]).unwrap().unwrap().0
}

fn fails(section: &str, environment: &[(&str, &str)]) -> String {
    let text = read_s3(section, environment).unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text}");
    text.split_once("config.yml:").map_or(text.clone(), |(_, rest)| rest.to_owned())
}

#[test]
fn a_bucket_has_the_defaults_of_registry_2() {
    let config = s3("");
    assert_eq!((config.bucket.as_str(), config.region.as_str(), config.root.as_str()), ("b", "r", ""));
    assert_eq!((config.credentials.id.as_str(), config.credentials.secret.expose()), ("k", "s"));
    assert_eq!(config.credentials.token, None);
    assert_eq!((config.endpoint.value(), config.path_style), (&None, false));
    assert_eq!(config.encryption, S3Encryption::Default);
    assert!(*config.secure && !*config.skipverify && !*config.accelerate && !*config.usedualstack);
    assert_eq!(*config.chunksize, 10 << 20);
    let S3Copy { chunksize, concurrency, threshold } = &config.copy;
    assert_eq!((**chunksize, **concurrency, **threshold), (32 << 20, 100, 32 << 20));
    assert_eq!((config.storageclass.as_deref(), config.objectacl.as_str()), (Some("STANDARD"), "private"));
    assert_eq!((config.useragent.value(), config.mirrorquota.value()), (&None, &None));
}

#[test]
fn every_key_is_read() {
    let config = s3(", sessiontoken: t, regionendpoint: 'minio:9000', secure: false, forcepathstyle: false, \
                     encrypt: true, keyid: id, skipverify: true, v4auth: true, chunksize: 5242880, \
                     multipartcopychunksize: 64MiB, multipartcopymaxconcurrency: 7, multipartcopythresholdsize: 0, \
                     rootdirectory: /a/b/, storageclass: NONE, useragent: docker-distribution/v2, \
                     objectacl: bucket-owner-full-control, mirrorquota: 1TB");
    assert_eq!(config.credentials.token.as_ref().map(Secret::expose), Some("t"));
    assert_eq!(config.endpoint.as_ref().map(Url::as_str), Some("http://minio:9000/"));
    assert!(!config.path_style && *config.skipverify && !*config.secure);
    assert_eq!(config.encryption, S3Encryption::Kms("id".to_owned()));
    assert_eq!((*config.chunksize, *config.copy.chunksize), (5 << 20, 64 << 20));
    assert_eq!((*config.copy.concurrency, *config.copy.threshold), (7, 0));
    assert_eq!((config.root.as_str(), config.storageclass.value()), ("a/b", &None));
    assert_eq!(config.objectacl.as_str(), "bucket-owner-full-control");
    assert_eq!(config.useragent.as_deref(), Some("docker-distribution/v2"));
    assert_eq!(*config.mirrorquota, Some(SizeBound::Bytes(1_000_000_000_000)));
    let amazon = s3(", accelerate: true, usedualstack: true, encrypt: true");
    assert!(*amazon.accelerate && *amazon.usedualstack && amazon.encryption == S3Encryption::Aes256);
}

/// The keys in the documentation of distribution 3, each in the table once.
#[test]
fn the_table_has_the_keys_of_registry_2() {
    let names = "accesskey secretkey region regionendpoint forcepathstyle bucket encrypt keyid secure skipverify \
                 v4auth chunksize multipartcopychunksize multipartcopymaxconcurrency multipartcopythresholdsize \
                 rootdirectory storageclass useragent objectacl accelerate usedualstack loglevel sessiontoken";
    let known: HashSet<&str> = S3_KEYS.iter().filter_map(|key| key.path.strip_prefix("storage.s3.")).collect();
    assert_eq!(known.len(), S3_KEYS.len());
    let missing: Vec<_> = names.split_whitespace().filter(|name| !known.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn an_endpoint_has_a_scheme() {
    for (keys, url, path_style) in [
        ("regionendpoint: 'http://a:8333'", "http://a:8333/", true),
        ("regionendpoint: 'https://a', secure: false", "https://a/", true),
        ("regionendpoint: 'a:9000'", "https://a:9000/", true),
        ("regionendpoint: a, secure: false, forcepathstyle: true", "http://a/", true),
        ("regionendpoint: a, forcepathstyle: false", "https://a/", false),
    ] {
        let config = s3(&format!(", {keys}"));
        assert_eq!(config.endpoint.as_ref().map(Url::as_str), Some(url), "{keys}");
        assert_eq!(config.path_style, path_style, "{keys}");
    }
}

#[test]
fn an_access_key_comes_from_keys_a_file_or_the_environment() {
    let place = "  s3: {bucket: b, region: r}";
    let aws = [("AWS_ACCESS_KEY_ID", "i"), ("AWS_SECRET_ACCESS_KEY", "j"), ("AWS_SESSION_TOKEN", "t")];
    let (config, _) = read_s3(place, &aws).unwrap().unwrap();
    let token = config.credentials.token.as_ref().map(Secret::expose);
    assert_eq!((config.credentials.id.as_str(), config.credentials.secret.expose(), token), ("i", "j", Some("t")));
    let (config, _) = read_s3("  s3: {bucket: b, region: r, accesskey: k, secretkey: s}", &aws).unwrap().unwrap();
    assert_eq!((config.credentials.id.as_str(), config.credentials.token), ("k", None), "the keys come first");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"from-a-file\n").unwrap();
    let path = file.path().display().to_string();
    let variables = [("REGISTRY_STORAGE_S3_ACCESSKEY", "k"), ("REGISTRY_STORAGE_S3_SECRETKEYFILE", path.as_str())];
    let (config, _) = read_s3(place, &variables).unwrap().unwrap();
    assert_eq!(config.credentials.secret.expose(), "from-a-file");
    assert!(!format!("{config:?}").contains("from-a-file"), "a secret is not shown");
    for (keys, begins) in [
        ("accesskey: k", "3: storage.s3.accesskey is \"k\"; expected storage.s3.secretkey or "),
        ("secretkey: sesame", "3: storage.s3.secretkey is \"***\"; expected storage.s3.accesskey beside it"),
        ("sessiontoken: sesame", "3: storage.s3.sessiontoken is \"***\"; expected storage.s3.accesskey"),
        ("accesskey: k, secretkey: s, secretkeyfile: /x", "3: storage.s3.secretkeyfile is \"/x\"; expected no "),
        ("accesskey: k, secretkeyfile: /no/such", "3: storage.s3.secretkeyfile is \"/no/such\"; expected a file"),
    ] {
        let line = fails(&format!("  s3: {{bucket: b, region: r, {keys}}}"), &[]);
        assert!(line.starts_with(begins), "{line}");
    }
    let line = fails(place, &[("AWS_ACCESS_KEY_ID", "i")]);
    assert!(line.contains("expected an access key here, or in the variables AWS_ACCESS_KEY_ID"), "{line}");
}

#[test]
fn a_wrong_bucket_stops_the_start() {
    for (keys, begins) in [
        ("bucekt: c", "3: storage.s3.bucekt is not a key of this program (did you mean storage.s3.bucket?)"),
        ("weather: fine", "3: storage.s3.weather is not a key of this program"),
        ("bucket: ''", "storage.s3.bucket is \"\"; expected the name of a bucket"),
        ("bucket: a/b", "3: storage.s3.bucket is \"a/b\"; expected the name of a bucket"),
        ("region: ''", "storage.s3.region is \"\"; expected a region such as"),
        ("v4auth: false", "3: storage.s3.v4auth is \"false\"; expected true"),
        ("secure: perhaps", "3: storage.s3.secure is \"perhaps\"; expected true or false"),
        ("chunksize: 1MiB", "3: storage.s3.chunksize is \"1MiB\"; expected 5MiB to 5GiB"),
        ("chunksize: 6GiB", "3: storage.s3.chunksize is \"6GiB\"; expected 5MiB to 5GiB"),
        ("multipartcopychunksize: 1", "3: storage.s3.multipartcopychunksize is \"1\"; expected 5MiB to 5GiB"),
        ("multipartcopymaxconcurrency: 0", "3: storage.s3.multipartcopymaxconcurrency is \"0\"; expected 1 or more"),
        ("multipartcopythresholdsize: 6GiB", "3: storage.s3.multipartcopythresholdsize is \"6GiB\"; expected 5GiB or"),
        ("storageclass: COLD", "3: storage.s3.storageclass is \"COLD\"; expected one of NONE, STANDARD,"),
        ("objectacl: secret", "3: storage.s3.objectacl is \"secret\"; expected one of private,"),
        ("keyid: x", "3: storage.s3.keyid is \"x\"; expected storage.s3.encrypt: true beside it"),
        ("regionendpoint: 'ftp://a'", "3: storage.s3.regionendpoint is \"ftp://a\"; expected the URL of a service"),
        ("regionendpoint: 'a/b'", "3: storage.s3.regionendpoint is \"a/b\"; expected the URL of a service"),
        ("regionendpoint: a, accelerate: true", "3: storage.s3.accelerate is \"true\"; expected no storage.s3.regi"),
        ("regionendpoint: a, usedualstack: true", "3: storage.s3.usedualstack is \"true\"; expected no storage.s3"),
        ("useragent: \"a\\nb\"", "3: storage.s3.useragent is \"a\\nb\"; expected a single value"),
        ("bucket: [b]", "3: storage.s3.bucket is a list; expected a single value"),
    ] {
        // A key that is given twice is an error of YAML, so the good value makes room for the wrong one.
        let rest: Vec<_> = ["bucket: b", "region: r", "accesskey: k", "secretkey: s"]
            .into_iter()
            .filter(|good| !keys.starts_with(good.split_inclusive(':').next().unwrap()))
            .collect();
        let line = fails(&format!("  s3: {{{}, {keys}}}", rest.join(", ")), &[]);
        assert!(line.contains(begins), "{keys}: {line}");
    }
    assert!(fails("  s3: [bucket]", &[]).starts_with("3: storage.s3 is a list; expected a section of keys"));
    let both = fails("  s3: {bucket: b}\n  s3aws: {bucket: b}", &[]);
    assert!(both.starts_with("4: storage.s3aws stands beside storage.s3"), "{both}");
}

#[test]
fn other_names_of_the_section_and_none() {
    let (config, _) = read_s3("  s3aws: {bucket: b, region: r, accesskey: k, secretkey: s}", &[]).unwrap().unwrap();
    assert_eq!(config.bucket.as_str(), "b");
    assert!(read_s3("  filesystem: {rootdirectory: /x}", &[]).unwrap().is_none());
    let variables = ["BUCKET", "REGION", "ACCESSKEY", "SECRETKEY"].map(|name| format!("REGISTRY_STORAGE_S3_{name}"));
    let variables: Vec<_> = variables.iter().map(|name| (name.as_str(), "x")).collect();
    let (config, _) = read_s3("  filesystem: {}", &variables).unwrap().unwrap();
    assert_eq!(
        (config.bucket.as_str(), config.bucket.origin().to_string().as_str()),
        ("x", "REGISTRY_STORAGE_S3_BUCKET")
    );
    let logged = "  s3: {bucket: b, region: r, accesskey: k, secretkey: s, loglevel: debug}";
    let (_, warnings) = read_s3(logged, &[]).unwrap().unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].to_string().contains("storage.s3.loglevel has no effect here"), "{}", warnings[0]);
}

/// A complete section is refused by the start as before.
#[test]
fn the_driver_is_refused() {
    let line = complaint("storage:\n  s3: {bucket: b, region: r, accesskey: k, secretkey: s}");
    assert!(line.starts_with("config.yml:3: storage.s3 is a storage driver that this program does not have"), "{line}");
}
