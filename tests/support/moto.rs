//! A private moto server: the wire format of Amazon Route 53.
//!
//! Its shape is right, and its paging; it takes batches that Amazon refuses.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::keeper;
use super::peers;
use super::ports::{free_port, loopback};
use super::process::Process;
use tempfile::TempDir;

const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";

/// A running moto.
pub struct Moto {
    address: SocketAddr,
    /// The id of each zone.
    zones: Mutex<BTreeMap<String, String>>,
    // Before its folder, so that it is dead when that is removed.
    _process: Process,
    _folder: TempDir,
}

impl Moto {
    /// Starts a server without zones.
    pub fn start() -> Self {
        let folder = keeper::folder("moto");
        let address = loopback(free_port());
        let mut command = Command::new("python3");
        command
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
            .arg(address.port().to_string())
            .env("PYTHONPATH", peers::folder().join("moto"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let process = Process::start("moto", &mut command, &folder.path().join("moto.log"));
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            assert!(
                Instant::now() < end,
                "moto does not come up: {}",
                process.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Self {
            address,
            zones: Mutex::default(),
            _process: process,
            _folder: folder,
        }
    }

    /// The URL of its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a hosted zone.
    pub fn create_zone(&self, zone: &str) {
        let body = format!(
            "<CreateHostedZoneRequest xmlns=\"{NAMESPACE}\"><Name>{zone}.</Name>\
             <CallerReference>{zone}</CallerReference></CreateHostedZoneRequest>"
        );
        let answer = self.ask("POST", "/2013-04-01/hostedzone", &body);
        let id =
            between(&answer, "<Id>/hostedzone/", "</Id>").unwrap_or_else(|| panic!("{answer}"));
        self.zones
            .lock()
            .unwrap()
            .insert(zone.to_owned(), id.to_owned());
    }

    /// Writes a record set as its owner would.
    pub fn upsert(&self, zone: &str, name: &str, kind: &str, contents: &[&str]) {
        let records: String = contents
            .iter()
            .map(|content| format!("<ResourceRecord><Value>{content}</Value></ResourceRecord>"))
            .collect();
        let body = format!(
            "<ChangeResourceRecordSetsRequest xmlns=\"{NAMESPACE}\"><ChangeBatch><Changes><Change>\
             <Action>UPSERT</Action><ResourceRecordSet><Name>{name}.</Name><Type>{kind}</Type>\
             <TTL>300</TTL><ResourceRecords>{records}</ResourceRecords></ResourceRecordSet></Change>\
             </Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
        );
        let answer = self.ask("POST", &format!("{}/rrset/", self.path(zone)), &body);
        assert!(answer.contains("<ChangeInfo>"), "{answer}");
    }

    /// What the API lists: content and TTL.
    pub fn records(&self, zone: &str, name: &str, kind: &str) -> Vec<(String, u32)> {
        let path = format!(
            "{}/rrset?name={name}.&type={kind}&maxitems=1",
            self.path(zone)
        );
        let answer = self.ask("GET", &path, "");
        let is = |tag: &str, text: &str| {
            between(&answer, &format!("<{tag}>"), &format!("</{tag}>")) == Some(text)
        };
        if !is("Name", &format!("{name}.")) || !is("Type", kind) {
            return Vec::new();
        }
        let ttl = between(&answer, "<TTL>", "</TTL>")
            .unwrap()
            .parse()
            .unwrap();
        let values = answer.split("<Value>").skip(1);
        values
            .map(|rest| {
                let content = rest.split("</Value>").next().unwrap();
                let content = content
                    .replace("&quot;", "\"")
                    .replace("&lt;", "<")
                    .replace("&gt;", ">");
                (content.replace("&amp;", "&"), ttl)
            })
            .collect()
    }

    /// The id of a zone.
    pub fn zone(&self, zone: &str) -> String {
        self.zones.lock().unwrap()[zone].clone()
    }

    fn path(&self, zone: &str) -> String {
        format!(
            "/2013-04-01/hostedzone/{}",
            self.zones.lock().unwrap()[zone]
        )
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=AKIAX/20260101/us-east-1/route53/aws4_request, \
             SignedHeaders=host, Signature=x\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(start)?.1.split_once(end)?.0)
}
