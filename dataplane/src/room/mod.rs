//! Relations between peers: who receives what, which layer, and how its headers read. Sans-IO.
