//! Everything one core's thread needs to begin, and its whole life: pin, open the backend, say so, run, tell why it ended.

use std::any::Any;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, mpsc};

use super::error::BootError;
use super::host::pin;
use crate::engine::{Engine, EngineConfig};
use crate::io::epoll::Epoll;
use crate::io::socket::UdpSocket;
use crate::io::tcp::{Handovers, TcpCounts, WithTcp};
use crate::io::uring::Uring;
use crate::io::{Backend, IoChoice};
use crate::worker::{Links, Worker};

/// Where a worker says whether it could begin.
pub(super) type Ready = mpsc::Sender<Result<(), BootError>>;

/// Everything a worker's thread needs to begin.
pub(super) struct Plan {
    pub(super) cpu: usize,
    pub(super) socket: UdpSocket,
    pub(super) tcp: Option<(Arc<Handovers>, Arc<TcpCounts>)>,
    pub(super) links: Links,
    pub(super) engine: EngineConfig,
    pub(super) fault: Arc<OnceLock<String>>,
    pub(super) io: IoChoice,
}

impl Plan {
    /// The whole life of a worker's thread. Nothing that ends it stays untold.
    pub(super) fn run(self, ready: &Ready) {
        let bell = self.links.bell.clone();
        let wake = bell.as_fd();
        if let Err(source) = pin(self.cpu) {
            // Nobody listens only when another worker has failed first.
            let _ = ready.send(Err(BootError::Pin { cpu: self.cpu, source }));
            return;
        }
        match self.io {
            IoChoice::Epoll => {
                let refused = |source| BootError::Resource { what: "an epoll", source };
                self.run_on(ready, |socket| Epoll::new(socket, wake).map_err(refused));
            }
            _ => {
                let refused = |source| BootError::UringRefused { source };
                self.run_on(ready, |socket| Uring::new(socket, wake).map_err(refused));
            }
        }
    }

    fn run_on<B: Backend>(self, ready: &Ready, open: impl FnOnce(UdpSocket) -> Result<B, BootError>) {
        let seed = self.engine.seed;
        let opened = open(self.socket).and_then(|udp| match self.tcp {
            Some((handovers, counts)) => WithTcp::new(udp, handovers, counts, seed)
                .map_err(|source| BootError::Resource { what: "a poll for TCP connections", source }),
            None => Ok(WithTcp::without(udp)),
        });
        let backend = match opened {
            Ok(backend) => backend,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let mut worker = Worker::new(Engine::new(self.engine), backend, self.links);
        let _ = ready.send(Ok(()));
        // A panic must not become a silent dead core. The worker is not used after one, only dropped.
        let ended = catch_unwind(AssertUnwindSafe(|| worker.run()));
        let told = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(format!("the worker panicked: {}", panic_text(&*panic))),
        };
        if let Some(text) = told {
            let _ = self.fault.set(text);
        }
        // Only now the lane says that the core has stopped.
        drop(worker);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
