//! A client of the server's admin socket, independent of the server's code.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

pub(crate) fn socket(data: &Path) -> PathBuf {
    data.join("entrepot.sock")
}

/// All responses to a request, the last one included.
pub(crate) fn ask(data: &Path, request: &Value) -> Vec<Value> {
    let mut stream = UnixStream::connect(socket(data)).unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    BufReader::new(stream).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// Collects garbage and returns the result. `grace` in milliseconds overrides the server's own.
pub(crate) fn gc(data: &Path, untagged: bool, grace: Option<u64>) -> Value {
    let request = json!({ "request": "gc", "untagged": untagged, "dry_run": false, "grace": grace });
    let last = ask(data, &request).pop().unwrap();
    assert_eq!(last["answer"], "collected", "{last}");
    last
}

/// Collects garbage on a server that may be killed meanwhile; returns the number of deleted blobs, if it completed.
pub(crate) fn try_gc(data: &Path, grace: u64) -> Option<u64> {
    let request = json!({ "request": "gc", "untagged": true, "dry_run": false, "grace": grace });
    let mut stream = UnixStream::connect(socket(data)).ok()?;
    stream.write_all(format!("{request}\n").as_bytes()).ok()?;
    let last = BufReader::new(stream).lines().map_while(Result::ok).last()?;
    let last: Value = serde_json::from_str(&last).ok()?;
    last["blobs"].as_u64().filter(|_| last["answer"] == "collected")
}
