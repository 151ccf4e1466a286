//! Handshakes and data channels, off the packet cores.
