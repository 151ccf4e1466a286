//! A signalling client that does nothing by itself: it opens `/rtc`, sends what a test says and hands over what comes.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Reply;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Nothing on loopback takes this long.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The query parameter `join_request`: base64 of a `WrappedJoinRequest` of this compression (0 is none, 1 is gzip).
#[must_use]
pub fn wrap(compression: i32, join_request: Vec<u8>) -> String {
    URL_SAFE_NO_PAD.encode(proto::WrappedJoinRequest { compression, join_request }.encode_to_vec())
}

/// What came from the server.
#[derive(Debug)]
pub enum Received {
    /// A message of the protocol.
    Reply(Box<Reply>),
    /// The end of the connection: status and reason, if it was said.
    Closed(Option<(u16, String)>),
}

/// An open signalling connection.
pub struct Signalling(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Signalling {
    /// Opens `/rtc` with a token and more of the query, like `&reconnect=1&sid=PA_x`.
    ///
    /// # Errors
    /// The HTTP status of the refusal.
    ///
    /// # Panics
    /// When there is no answer at all.
    pub async fn open(address: SocketAddr, token: &str, query: &str) -> Result<Self, u16> {
        Self::connect(format!("ws://{address}/rtc?access_token={token}&protocol=15{query}")).await
    }

    /// Opens `/rtc/v1` with a join request in a plain wrapping.
    ///
    /// # Errors
    /// The HTTP status of the refusal.
    ///
    /// # Panics
    /// When there is no answer at all.
    pub async fn open_v1(
        address: SocketAddr,
        token: &str,
        request: &proto::JoinRequest,
    ) -> Result<Self, u16> {
        let request = wrap(0, request.encode_to_vec());
        Self::connect(format!("ws://{address}/rtc/v1?access_token={token}&join_request={request}")).await
    }

    async fn connect(url: String) -> Result<Self, u16> {
        let opened = tokio::time::timeout(TIMEOUT, connect_async(url)).await.expect("an answer in time");
        match opened {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Sends a message of the protocol.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send(&mut self, request: Request) {
        let bytes = proto::SignalRequest { message: Some(request) }.encode_to_vec();
        self.send_frame(Message::Binary(bytes.into())).await.expect("the connection stands");
    }

    /// Sends any frame.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_frame(&mut self, frame: Message) -> Result<(), Error> {
        self.0.send(frame).await
    }

    /// The next message or the end.
    ///
    /// # Panics
    /// When neither comes in time, or when it is no message of the protocol.
    pub async fn receive(&mut self) -> Received {
        loop {
            let frame = tokio::time::timeout(TIMEOUT, self.0.next()).await.expect("a message in time");
            return match frame {
                Some(Ok(Message::Binary(bytes))) => {
                    let response = proto::SignalResponse::decode(bytes).expect("a SignalResponse");
                    Received::Reply(Box::new(response.message.expect("no empty messages")))
                }
                Some(Ok(Message::Close(frame))) => Received::Closed(
                    frame.map(|CloseFrame { code, reason }| (code.into(), reason.to_string())),
                ),
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => Received::Closed(None),
            };
        }
    }

    /// The next message that `wanted` takes; others are passed over.
    ///
    /// # Panics
    /// When the connection ends first.
    pub async fn until<T>(&mut self, mut wanted: impl FnMut(Reply) -> Option<T>) -> T {
        loop {
            match self.receive().await {
                Received::Reply(reply) => {
                    if let Some(found) = wanted(*reply) {
                        return found;
                    }
                }
                Received::Closed(why) => panic!("closed: {why:?}"),
            }
        }
    }

    /// The answer to the join; the first message must be it.
    ///
    /// # Panics
    /// When it is not.
    pub async fn join(&mut self) -> proto::JoinResponse {
        match self.receive().await {
            Received::Reply(reply) => match *reply {
                Reply::Join(join) => join,
                other => panic!("not a join: {other:?}"),
            },
            Received::Closed(why) => panic!("closed: {why:?}"),
        }
    }

    /// Passes over messages until the connection ends; its status and reason.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            if let Received::Closed(why) = self.receive().await {
                return why;
            }
        }
    }
}
