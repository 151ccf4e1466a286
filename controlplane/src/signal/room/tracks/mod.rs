//! What participants send: announcements and offers (`publishing`), which media section carries which track (`matching`), and what
//! publishers are asked for (`dynacast`).

mod dynacast;
mod matching;
mod publishing;
