//! As much HTTP/1.1 as Janus's API needs: JSON there and back over one connection that is kept.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// Longer than the server's long polls, which take 30 s.
const PATIENCE: Duration = Duration::from_secs(45);
/// Largest answer: an offer of a hundred sections is 100 KiB.
const BODY_BYTES_MAX: usize = 4 << 20;

/// A connection.
pub struct Http {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Http {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    /// Sends a body and reads the answer.
    pub fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        self.exchange("POST", path, &body.to_string())
    }

    /// Reads a resource.
    pub fn get(&mut self, path: &str) -> Result<Value> {
        self.exchange("GET", path, "")
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str) -> Result<Value> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all(format!("{head}{body}").as_bytes()).context("cannot send")?;
        read(&mut self.stream)
    }
}

/// Reads one answer, with a length or in chunks (RFC 9112 section 7.1).
fn read(stream: &mut impl BufRead) -> Result<Value> {
    let status = line(stream)?;
    if status.split(' ').nth(1) != Some("200") {
        bail!("the answer is {status:?}");
    }
    let (mut bytes, mut is_chunked) = (None, false);
    loop {
        let field = line(stream)?;
        if field.is_empty() {
            break;
        }
        let Some((name, value)) = field.split_once(':') else { bail!("the answer is no HTTP") };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => bytes = value.trim().parse::<usize>().ok(),
            "transfer-encoding" => is_chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if is_chunked {
        loop {
            let size = line(stream)?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| anyhow!("the answer is no HTTP"))?;
            append(stream, &mut body, size)?;
            line(stream)?;
            if size == 0 {
                break;
            }
        }
    } else {
        append(stream, &mut body, bytes.ok_or_else(|| anyhow!("the answer has no usable length"))?)?;
    }
    serde_json::from_slice(&body).context("the answer is not JSON")
}

/// Reads so many bytes more.
fn append(stream: &mut impl BufRead, body: &mut Vec<u8>, bytes: usize) -> Result<()> {
    let before = body.len();
    if bytes > BODY_BYTES_MAX - before {
        bail!("the answer is longer than {BODY_BYTES_MAX} bytes");
    }
    body.resize(before + bytes, 0);
    stream.read_exact(&mut body[before..]).context("the answer breaks off")
}

/// Reads one line, without its end.
fn line(stream: &mut impl BufRead) -> Result<String> {
    let mut text = String::new();
    if stream.read_line(&mut text).context("no answer")? == 0 {
        bail!("the answer breaks off");
    }
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}HTTP/1.1 404 Not Found\r\n\r\n";
        let mut stream = BufReader::new(text.as_bytes());
        let chunks =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n3;x\r\n:1}\r\n0\r\n\r\n";
        assert_eq!(read(&mut BufReader::new(chunks.as_bytes())).expect("whole")["a"], 1);
        assert_eq!(read(&mut stream).expect("whole")["a"], 1);
        assert!(read(&mut stream).expect_err("404").to_string().contains("404"));
        for broken in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            assert!(read(&mut BufReader::new(broken.as_bytes())).is_err(), "{broken:?}");
        }
    }
}
