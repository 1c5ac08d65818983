//! Connections that are refused, hang, close or violate the protocol; and the client threads.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::{
    BLOB, Digest, Error, Timeouts, UpstreamOptions, latest, name, options, read, remote, remote_with,
    server::{Server, Step, reply, say},
    threads,
};
use crate::upstream::{Phase, Remote, permits::MAX_OTHER_REQUESTS};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

#[tokio::test]
async fn an_unreachable_upstream_is_reported() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let base = format!("http://127.0.0.1:{port}").parse().unwrap();
    let remote = Remote::new("r.example".parse().unwrap(), base, options()).unwrap();
    let error = remote.head_manifest(&threads(1), &name(), &latest()).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
}

#[tokio::test]
async fn a_hanging_upstream_is_given_up_once() {
    let server = Server::start(|_, _| vec![Step::Wait(10_000)]);
    let started = Instant::now();
    let error = remote(&server).head_manifest(&threads(1), &name(), &latest()).await.unwrap_err();
    assert_eq!(error, Error::Timeout { phase: Phase::Head });
    assert!(error.is_unreachable() && started.elapsed() < Duration::from_secs(3));
    assert_eq!(server.asked().len(), 1, "a timeout is not tried again");
}

#[tokio::test]
async fn a_connection_that_ends_is_tried_once_more() {
    let endings = [vec![Step::Fin], vec![Step::Rst], vec![Step::Say("HTTP/1.1 20".into()), Step::Fin]];
    for ending in endings {
        let once = ending.clone();
        let server = Server::start(move |_, before| if before == 0 { once.clone() } else { say(HEAD) });
        assert!(remote(&server).head_manifest(&threads(1), &name(), &latest()).await.is_ok(), "{ending:?}");
        let server = Server::start(move |_, _| ending.clone());
        let error = remote(&server).head_manifest(&threads(1), &name(), &latest()).await.unwrap_err();
        assert!(error.is_unreachable(), "{error:?}");
        assert_eq!(server.asked().len(), 2);
    }
}

#[tokio::test]
async fn a_kept_connection_may_have_been_closed() {
    let server = Server::start(|_, _| vec![Step::Say(HEAD.into()), Step::Fin]);
    let (threads, remote) = (threads(1), remote(&server));
    for _ in 0..3 {
        assert!(remote.head_manifest(&threads, &name(), &latest()).await.is_ok());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn early_hints_do_not_shift_the_answers() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let late = vec![Step::Say(hints.into()), Step::Wait(100)];
    let server = Server::start(move |asked, before| match before {
        0 => [late.clone(), reply("200 OK", "", "first")].concat(),
        _ => reply("200 OK", "", asked.target.rsplit_once('/').unwrap().1),
    });
    let (threads, remote) = (threads(1), remote(&server));
    for tag in ["one", "two", "three"] {
        let got = remote.get_manifest(&threads, &name(), &tag.parse().unwrap()).await.unwrap();
        assert_eq!(got.bytes, tag);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_its_connection() {
    let response = |head: &str| {
        let (first, second) = BLOB.split_at(7);
        let head = Step::Say([head.as_bytes(), b"\r\n", first].concat());
        vec![head, Step::Wait(50), Step::Say(second.into()), Step::Fin]
    };
    for head in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n"] {
        let steps = response(head);
        let server = Server::start(move |_, _| steps.clone());
        let (threads, remote) = (threads(1), remote(&server));
        for _ in 0..2 {
            let got = remote.get_manifest(&threads, &name(), &latest()).await.unwrap();
            assert_eq!(got.bytes, BLOB);
        }
        let read = read(&threads, &remote, 0, None).await.unwrap();
        assert_eq!((read.size, &read.bytes[..], read.end), (None, BLOB, Ok(())));
    }
    let steps = response("HTTP/1.1 503 Busy\r\nConnection: close\r\n");
    let server = Server::start(move |_, _| steps.clone());
    let got = remote(&server).get_manifest(&threads(1), &name(), &latest()).await;
    assert_eq!(got, Err(Error::Status { code: 503, message: format!(": {}", String::from_utf8_lossy(BLOB)) }));
}

#[tokio::test]
async fn a_part_that_ends_with_its_connection_has_the_length_it_says() {
    let head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-19/20\r\nConnection: close\r\n\r\n";
    for until in [10, 20] {
        let server = Server::start(move |_, _| vec![Step::Say([head.as_bytes(), &BLOB[5..until]].concat()), Step::Fin]);
        let read = read(&threads(1), &remote(&server), 5, None).await.unwrap();
        let cut = Error::Cut { got: until as u64 - 5, expected: Some(15) };
        assert_eq!((&read.bytes[..], read.end), (&BLOB[5..until], if until == 20 { Ok(()) } else { Err(cut) }));
    }
}

#[tokio::test]
async fn a_redirect_without_a_length_keeps_its_connection() {
    let server = Server::start(|asked, _| match asked.target.contains("elsewhere") {
        true => reply("200 OK", "", BLOB),
        false => say("HTTP/1.1 307 Elsewhere\r\nLocation: /elsewhere\r\n\r\n"),
    });
    let got = remote(&server).get_manifest(&threads(1), &name(), &latest()).await.unwrap();
    assert_eq!((&got.bytes[..], server.connections()), (BLOB, 1));
}

#[tokio::test]
async fn an_invalid_response_is_reported() {
    let server = Server::start(|_, _| say("SSH-2.0-OpenSSH_9.2\r\n\r\n"));
    let got = remote(&server).head_manifest(&threads(1), &name(), &latest()).await;
    assert!(matches!(got, Err(Error::Protocol(_))), "{got:?}");
}

#[tokio::test]
async fn many_ask_at_once_from_any_runtime() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let server = Server::start(|_, _| say(HEAD));
    let (threads, remote, digest) = (threads(3), remote(&server), Digest::sha256(BLOB));
    let name = name();
    let sizes = join_all((0..64).map(|_| is_send(remote.blob_size(&threads, &name, &digest)))).await;
    assert!(sizes.into_iter().all(|size| size == Ok(5)));
}

/// An upstream that does not answer uses up its own permits only, on all threads.
#[tokio::test]
async fn a_silent_upstream_takes_no_turns_of_another() {
    let silent = Server::start(|_, _| vec![Step::Wait(20_000)]);
    let (threads, answering) = (threads(3), Server::start(|_, _| say(HEAD)));
    let options =
        UpstreamOptions { timeouts: Timeouts { head: Duration::from_secs(4), ..options().timeouts }, ..options() };
    let (silent, answering) = (remote_with(&silent, options), remote(&answering));
    let (name, latest) = (name(), latest());
    let questions = join_all((0..4 * MAX_OTHER_REQUESTS).map(|_| silent.head_manifest(&threads, &name, &latest)));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        answering.head_manifest(&threads, &name, &latest).await
    };
    let (asked, answered) = tokio::join!(questions, meanwhile);
    assert!(answered.is_ok(), "{answered:?}");
    let crowded = asked.iter().filter(|answer| **answer == Err(Error::ConcurrencyLimit)).count();
    assert_eq!(crowded, 3 * MAX_OTHER_REQUESTS);
}

#[tokio::test]
async fn a_job_that_panics_ends_alone() {
    let server = Server::start(|_, _| vec![Step::Wait(200), Step::Say(HEAD.into())]);
    let (threads, remote) = (threads(1), remote(&server));
    let (name, reference) = (name(), latest());
    let other = remote.head_manifest(&threads, &name, &reference);
    let panics = threads.call(|_| async { if true { panic!("on purpose") } else { Ok(()) } });
    let (other, panicked) = tokio::join!(other, panics);
    assert!(other.is_ok());
    assert!(matches!(panicked, Err(Error::Job(_))));
    threads.spawn(|_| -> std::future::Ready<()> { panic!("before there is a future") }).unwrap();
    assert!(remote.head_manifest(&threads, &name, &reference).await.is_ok());
}

#[tokio::test]
async fn the_last_handle_ends_the_jobs() {
    struct Ends(tokio::sync::mpsc::UnboundedSender<()>);
    impl Drop for Ends {
        fn drop(&mut self) {
            let _told = self.0.send(());
        }
    }
    let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let first = threads(2);
    let second = first.clone();
    let ends = Ends(sender);
    first.spawn(move |_| async move { ends.keep().await }).unwrap();
    impl Ends {
        async fn keep(self) {
            std::future::pending::<()>().await;
        }
    }
    drop(first);
    assert!(tokio::time::timeout(Duration::from_millis(100), ended.recv()).await.is_err());
    drop(second);
    assert_eq!(tokio::time::timeout(Duration::from_secs(2), ended.recv()).await, Ok(Some(())));
}

#[tokio::test]
async fn a_dropped_call_cancels_the_request() {
    let server = Server::start(|_, before| if before == 0 { vec![Step::Wait(600)] } else { reply("200 OK", "", BLOB) });
    let (threads, remote) = (threads(1), remote(&server));
    let gone = tokio::time::timeout(Duration::from_millis(100), read(&threads, &remote, 0, None)).await;
    assert!(gone.is_err());
    assert!(read(&threads, &remote, 0, None).await.is_ok());
    assert_eq!(server.connections(), 2, "its connection is not used again");
}
