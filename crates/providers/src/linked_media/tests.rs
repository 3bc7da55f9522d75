//! Fetching from real servers on this machine, and from nowhere else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use privet_dialects::linked_media::{Link, Media, MediaKind};
use privet_testkit::file_server::{FileServer, PNG};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{MediaError, MediaFetcher, MediaSettings};
use crate::address_guard::{AddressPolicy, AddressRefused, AllowedAddress, PlainHttp};

/// Where servers are that may be asked, and those that may not.
const OUTSIDE: [u8; 4] = [127, 0, 0, 2];
const INSIDE: [u8; 4] = [127, 0, 0, 1];

fn settings(allowed: &[&str]) -> MediaSettings {
    let allowed = allowed.iter().map(|text| AllowedAddress::parse(text).unwrap()).collect();
    MediaSettings { policy: AddressPolicy::public(allowed, PlainHttp::Allowed), ..MediaSettings::default() }
}

fn link(url: impl Into<String>) -> Link {
    Link { url: url.into(), kind: MediaKind::Image }
}

async fn fetch(settings: MediaSettings, url: &str) -> Result<Media, MediaError> {
    MediaFetcher::new(settings).unwrap().fetch(&link(url)).await
}

/// Answers with the first of these lists, then the next; the last stays.
struct Changing(Mutex<Vec<Vec<[u8; 4]>>>);

impl Resolve for Changing {
    fn resolve(&self, _: Name) -> Resolving {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        let found = answer.into_iter().map(|address| SocketAddr::from((address, 0)));
        Box::pin(async move { Ok(Box::new(found) as Addrs) })
    }
}

fn fetcher(settings: MediaSettings, answers: Vec<Vec<[u8; 4]>>) -> MediaFetcher {
    let resolver = settings.policy.resolver_over(Arc::new(Changing(Mutex::new(answers))));
    MediaFetcher::with_resolver(settings, resolver).unwrap()
}

#[tokio::test]
async fn what_is_allowed_is_fetched_and_judged_by_its_bytes() {
    let server = FileServer::with_file(INSIDE, PNG).await;
    let media = fetch(settings(&["127.0.0.1"]), &server.url("a")).await.unwrap();
    assert_eq!(media, Media::read(PNG.to_vec(), MediaKind::Image).unwrap());
    for other in [b"<html>metadata".as_slice(), b"%PDF-1.7", b"", b"<svg/>"] {
        let server = FileServer::with_file(INSIDE, other).await;
        let refused = fetch(settings(&["127.0.0.1"]), &server.url("a.png")).await.unwrap_err();
        assert!(matches!(refused, MediaError::OtherKind(_)), "{refused}");
    }
}

#[tokio::test]
async fn fault_25_no_connection_is_made_to_an_address_that_is_not_public() {
    let server = FileServer::with_file(INSIDE, PNG).await;
    let hosts =
        ["127.0.0.1", "2130706433", "0177.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "u@127.0.0.1"];
    for host in hosts {
        let refused = fetch(settings(&[]), &format!("http://{host}:{}/a", server.port())).await.unwrap_err();
        assert!(matches!(refused, MediaError::Address(_)), "{host}: {refused}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn fault_25_a_name_is_checked_by_where_it_leads() {
    // At a port of the web, so that only the address is at fault.
    for name in ["http://localhost:8080/", "http://localhost.:8080/", "http://no-such-name.invalid/"] {
        let refused = fetch(settings(&[]), name).await.unwrap_err();
        assert!(matches!(refused, MediaError::Address(AddressRefused::NotPublic(_))), "{name}: {refused}");
    }
    let allowed = || settings(&["127.0.0.2"]);
    for (answers, found) in [
        (vec![], "nothing"),
        (vec![INSIDE], "inside"),
        (vec![OUTSIDE, INSIDE], "one of two inside"),
        (vec![[10, 0, 0, 1]], "private"),
    ] {
        let refused = fetcher(allowed(), vec![answers]).fetch(&link("http://a.test:8080/a")).await.unwrap_err();
        assert!(matches!(refused, MediaError::Address(AddressRefused::NotPublic(_))), "{found}: {refused}");
    }
    let keys = fetcher(allowed(), vec![vec![[169, 254, 169, 254]]]).fetch(&link("http://a.test/a")).await.unwrap_err();
    assert!(matches!(keys, MediaError::Address(AddressRefused::Metadata(_))), "{keys}");
}

#[tokio::test]
async fn fault_25_a_name_that_changes_its_address_gains_nothing() {
    // Addresses of this process alone, so that the port can be one of the web's.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let (outside, inside) = ([127, 77, high, low], [127, 78, high, low]);
    let kept = FileServer::with_file_at(SocketAddr::from((inside, 8080)), PNG).await;
    let again = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://rebind.test:8080/b\r\ncontent-length: 0\r\n\r\n";
    let asked = FileServer::answering(SocketAddr::from((outside, 8080)), again.into()).await;
    let may_go_outside = settings(&[&Ipv4Addr::from(outside).to_string()]);
    let fetcher = fetcher(may_go_outside, vec![vec![outside], vec![inside]]);
    let refused = fetcher.fetch(&link("http://rebind.test:8080/a")).await.unwrap_err();
    assert!(matches!(refused, MediaError::Address(AddressRefused::NotPublic(_))), "{refused}");
    assert_eq!((asked.connections(), kept.connections()), (1, 0), "what is connected to is what was checked");
}

#[tokio::test]
async fn fault_25_every_redirect_is_checked() {
    let inside = FileServer::with_file(INSIDE, PNG).await;
    let port = inside.port();
    for location in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("//[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://user:pass@127.0.0.2/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.2/".to_owned(),
    ] {
        let server = FileServer::leading_to(OUTSIDE, &location).await;
        let refused = fetch(settings(&["127.0.0.2"]), &server.url("a")).await.unwrap_err();
        assert!(matches!(refused, MediaError::Redirect(_)), "{location}: {refused}");
        assert_eq!(server.connections(), 1, "{location}");
    }
    assert_eq!(inside.connections(), 0);
    let circle = FileServer::leading_to(OUTSIDE, "/a").await;
    assert!(matches!(fetch(settings(&["127.0.0.2"]), &circle.url("a")).await, Err(MediaError::Redirects)));
    let followed = FileServer::leading_to(OUTSIDE, &format!("http://127.0.0.1:{port}/")).await;
    assert!(fetch(settings(&["127.0.0.0/8"]), &followed.url("a")).await.is_ok());
}

#[tokio::test]
async fn bytes_and_time_are_bounded() {
    let few = MediaSettings { bytes_max: 10, timeout: Duration::from_millis(300), ..settings(&["127.0.0.1"]) };
    let told = FileServer::with_file(INSIDE, PNG).await;
    assert!(matches!(fetch(few.clone(), &told.url("a")).await, Err(MediaError::TooLarge(10))));
    let answering = |answer: Vec<u8>| FileServer::answering(SocketAddr::from((INSIDE, 0)), answer);
    let untold = answering([b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), PNG].concat()).await;
    assert!(matches!(fetch(few.clone(), &untold.url("a")).await, Err(MediaError::TooLarge(10))));
    let silent = answering(Vec::new()).await;
    assert!(matches!(fetch(few, &silent.url("a")).await, Err(MediaError::Timeout(_))));
    let missing = answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    assert!(matches!(fetch(settings(&["127.0.0.1"]), &missing.url("a")).await, Err(MediaError::Status(404))));
}
