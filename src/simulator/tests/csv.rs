//! Valid and invalid traces, and the error messages for the invalid ones.

use crate::simulator::read;

const A: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const B: &str = "sha256:fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff0";

fn wrong(text: &str) -> String {
    read(text.as_bytes(), |_| {}).unwrap_err().to_string()
}

#[test]
fn a_log_is_read_with_and_without_its_header() {
    let lines = format!("10,library/a,{A},100,blob\n12.5,team/b,{A},100,blob\r\n\n2,team/b, {B} , 7,manifest");
    for text in [lines.clone(), format!("time,repository,digest,size,kind\n{lines}\n")] {
        let trace = read(text.as_bytes(), |_| {}).unwrap();
        assert_eq!((trace.requests(), trace.objects(), trace.repositories()), (3, 2, 2));
        assert_eq!((trace.working_set(), trace.requests.as_slice()), (107, &[0, 0, 1][..]));
        assert!((trace.seconds() - 10.5).abs() < 1e-9, "it need not be in order: {}", trace.seconds());
    }
}

#[test]
fn times_may_be_dates() {
    let text = format!("2026-10-01T00:00:00Z,a,{A},1,blob\n2026-10-02 00:00:00,a,{A},1,blob\n");
    assert!((read(text.as_bytes(), |_| {}).unwrap().seconds() - 86_400.0).abs() < 1e-9);
}

#[test]
fn a_wrong_line_is_named_with_what_is_wrong() {
    let good = format!("1,library/a,{A},100,blob\n");
    for (bad, named) in [
        ("1,library/a".to_owned(), "five columns"),
        (format!("1,library/a,{B},100,blob,more"), "five columns"),
        ("time,repository,digest,size,kind".to_owned(), "time \"time\""),
        (format!("soon,library/a,{B},100,blob"), "time \"soon\""),
        (format!("-1,library/a,{B},100,blob"), "time \"-1\""),
        (format!("NaN,library/a,{B},100,blob"), "time \"NaN\""),
        (format!("1,Library,{B},100,blob"), "\"Library\" is no repository name"),
        ("1,library/a,sha256:12,100,blob".to_owned(), "wrong length"),
        ("1,library/a,12,100,blob".to_owned(), "<algorithm>:<hex>"),
        (format!("1,library/a,{B},-1,blob"), "size \"-1\""),
        (format!("1,library/a,{B},1125899906842625,blob"), "2^50"),
        (format!("1,library/a,{B},100,layer"), "kind \"layer\" is none of manifest, config, blob"),
        (format!("1,library/a,{A},101,blob"), "was a blob of 100 bytes before, and is a blob of 101"),
        (format!("1,library/a,{A},100,manifest"), "is a manifest of 100"),
        ("x".repeat(5000), "five columns"),
    ] {
        let message = wrong(&format!("{good}{bad}\n{good}"));
        assert!(message.starts_with("line 2: ") && message.contains(named), "{bad}: {message}");
        assert!(!message.contains('\n'), "{message:?}");
    }
    let binary = [good.as_bytes(), b"\xff\xfe,\n"].concat();
    assert!(read(&binary[..], |_| {}).unwrap_err().to_string().starts_with("line 2: expected the five columns"));
}

#[test]
fn a_log_without_requests_is_none() {
    for text in ["", "\n\n", "time,repository,digest,size,kind\n"] {
        assert!(wrong(text).contains("no request"), "{text:?}");
    }
}
