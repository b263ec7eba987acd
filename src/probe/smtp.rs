//! A mail exchanger on port 25, asked as a sender asks it: banner, EHLO, STARTTLS, handshake
//! (RFC 3207, RFC 8461 §4.2). No mail is sent.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::fetch::connect;
use super::tls::{TlsProblem, TlsVerdict, TrustStore, clean, handshake, shake};
use crate::limits;
use crate::protocol::HostName;

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub struct SmtpRequest {
    /// The MX host: its certificate has to have this name.
    pub host: HostName,
    /// Where to connect. The caller has looked it up and checked that it may be dialled.
    pub address: SocketAddr,
    /// What to call ourselves in EHLO.
    pub client: String,
    /// The time at which certificates must be valid.
    pub now: Timestamp,
    /// How long all of it may take; usually [`limits::SMTP_TIME`].
    pub time: Duration,
}

/// What a mail exchanger showed.
#[derive(Clone, PartialEq, Debug)]
pub enum SmtpAnswer {
    /// No connection, or no banner, and why.
    Unreachable(String),
    /// It talks, and STARTTLS does not come about: what it said.
    NoStartTls(String),
    /// TLS was spoken, or tried.
    Tls(TlsVerdict),
}

/// Asks one address of a mail exchanger. It always ends within `request.time`.
pub async fn starttls(request: &SmtpRequest, trust: &TrustStore) -> SmtpAnswer {
    let deadline = Instant::now() + request.time;
    let stream = match as_far_as_tls(request, deadline).await {
        Ok(stream) => stream,
        Err(answer) => return answer,
    };
    let (_, verdict) = handshake(stream, &request.host, &[], trust, request.now, deadline).await;
    SmtpAnswer::Tls(verdict)
}

/// What a handshake with a mail exchanger left for one who says which host he wants, or does not: what
/// went wrong, and the chain that it showed. None if there was no session in which TLS may begin.
pub(super) async fn shown(
    request: &SmtpRequest,
    sni: bool,
) -> Option<(Option<TlsProblem>, Option<Vec<CertificateDer<'static>>>)> {
    let deadline = Instant::now() + request.time;
    let stream = as_far_as_tls(request, deadline).await.ok()?;
    let (_, problem, chain) = shake(stream, &request.host, &[], sni, deadline).await;
    Some((problem, chain))
}

/// A session in which TLS may begin; or what came instead.
async fn as_far_as_tls(request: &SmtpRequest, deadline: Instant) -> Result<TcpStream, SmtpAnswer> {
    let stream = connect(request.address, deadline).await;
    let stream = stream.map_err(|error| SmtpAnswer::Unreachable(error.to_string()))?;
    let mut session = Session {
        stream,
        unread: Vec::new(),
        deadline,
    };
    match session.prepare(&request.client).await {
        Ok(()) => Ok(session.stream),
        Err(Trouble::Silent(why)) => Err(SmtpAnswer::Unreachable(why)),
        Err(Trouble::Said(said)) => Err(SmtpAnswer::NoStartTls(said)),
    }
}

/// Why a session does not get as far as TLS.
enum Trouble {
    /// Before anything was said.
    Silent(String),
    /// What was said, or what became of it.
    Said(String),
}

struct Session {
    stream: TcpStream,
    /// What was read beyond the last line.
    unread: Vec<u8>,
    deadline: Instant,
}

/// A reply: its code, and its lines without the code.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn shown(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" / "))
    }
}

impl Session {
    /// As far as "go ahead" to STARTTLS.
    async fn prepare(&mut self, client: &str) -> Result<(), Trouble> {
        let banner = self.reply().await.map_err(Trouble::Silent)?;
        let said = |what: &str, reply: &Reply| Trouble::Said(format!("{what}: {}", reply.shown()));
        if banner.code != 220 {
            return Err(said("it greets with", &banner));
        }
        let ehlo = self.ask(&format!("EHLO {client}\r\n")).await?;
        if ehlo.code != 250 {
            return Err(said("to EHLO it says", &ehlo));
        }
        let offers = |line: &String| line.trim().eq_ignore_ascii_case("STARTTLS");
        if !ehlo.lines.iter().any(offers) {
            return Err(said("STARTTLS is not among what it offers", &ehlo));
        }
        let go = self.ask("STARTTLS\r\n").await?;
        if go.code != 220 {
            return Err(said("to STARTTLS it says", &go));
        }
        if !self.unread.is_empty() {
            let why = "it sent more in plain text behind its answer to STARTTLS";
            return Err(Trouble::Said(why.to_owned()));
        }
        Ok(())
    }

    async fn ask(&mut self, command: &str) -> Result<Reply, Trouble> {
        let written = timeout_at(self.deadline, self.stream.write_all(command.as_bytes())).await;
        let broken = || Trouble::Said("the connection broke".to_owned());
        written.map_err(|_| broken())?.map_err(|_| broken())?;
        self.reply().await.map_err(Trouble::Said)
    }

    /// A reply of one or several lines (RFC 5321 §4.2.1).
    async fn reply(&mut self) -> Result<Reply, String> {
        let mut lines = Vec::new();
        while lines.len() < limits::SMTP_REPLY_LINES {
            let line = self.line().await?;
            let (code, rest) = line.split_at_checked(3).ok_or_else(|| odd(&line))?;
            let code: u16 = code.parse().map_err(|_| odd(&line))?;
            let is_last = !rest.starts_with('-');
            lines.push(clean(rest.get(1..).unwrap_or_default()));
            if is_last {
                return Ok(Reply { code, lines });
            }
        }
        Err("its reply has too many lines".to_owned())
    }

    async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.unread.len() > limits::SMTP_LINE_BYTES {
                return Err("its line has no end".to_owned());
            }
            let mut buffer = [0; 1024];
            match timeout_at(self.deadline, self.stream.read(&mut buffer)).await {
                Err(_) => return Err("no answer in time".to_owned()),
                Ok(Err(error)) => return Err(format!("the connection broke ({})", error.kind())),
                Ok(Ok(0)) => return Err("it closed the connection".to_owned()),
                Ok(Ok(count)) => self.unread.extend(buffer.iter().take(count)),
            }
        }
    }
}

fn odd(line: &str) -> String {
    format!("this is no SMTP: {}", clean(line))
}
