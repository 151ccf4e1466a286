//! Who holds how much memory: an allocator that books every call to the server's or the clients' account.
//!
//! Promises: exact bytes as asked for, not pages. A thread that says nothing is the server's; the clients' thread says so once, and
//! what it makes for the server (commands) is booked to the server by [`as_server`]. The packet path does not allocate, so nothing
//! that is measured slows down. Not here: memory of the kernel (sockets, rings) and of mappings the server makes itself.
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one books and passes on")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

use mimalloc::MiMalloc;

static SERVER_BYTES: AtomicI64 = AtomicI64::new(0);
static CLIENT_BYTES: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

/// Books and passes on to mimalloc.
pub struct Accounting;

fn book(bytes: i64) {
    let is_client = IS_CLIENT.try_with(Cell::get).unwrap_or(false);
    let account = if is_client { &CLIENT_BYTES } else { &SERVER_BYTES };
    account.fetch_add(bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to `MiMalloc` with the arguments it came with, so what it promises holds; booking touches an atomic and a
// thread-local that needs neither allocation nor destruction (`const` initialiser of a `Copy` value).
unsafe impl GlobalAlloc for Accounting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        book(layout.size() as i64);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        book(layout.size() as i64);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        book(-(layout.size() as i64));
        // SAFETY: `pointer` came from `MiMalloc` with this layout, as the caller promises of us.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        book(bytes as i64 - layout.size() as i64);
        // SAFETY: as for `dealloc`, and the caller promises that `bytes` is a valid size.
        unsafe { MiMalloc.realloc(pointer, layout, bytes) }
    }
}

/// From now on this thread's memory is the clients'.
pub fn enter_clients() {
    IS_CLIENT.set(true);
}

/// Books what `body` takes and gives back to the server, whatever thread this is.
pub fn as_server<T>(body: impl FnOnce() -> T) -> T {
    let before = IS_CLIENT.replace(false);
    let result = body();
    IS_CLIENT.set(before);
    result
}

/// Bytes the server's account holds.
pub fn server_bytes() -> i64 {
    SERVER_BYTES.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_thread_pays_for_itself_and_the_server_for_its_commands() {
        let thread = std::thread::spawn(|| {
            enter_clients();
            let clients = CLIENT_BYTES.load(Ordering::Relaxed);
            let own = vec![1_u8; 50 << 20];
            let after = CLIENT_BYTES.load(Ordering::Relaxed);
            let given = as_server(|| vec![1_u8; 10]);
            (after - clients, own.len() + given.len())
        });
        let (booked, _) = thread.join().expect("it does not panic");
        assert!(booked >= 50 << 20, "{booked}");
    }
}
