//! I/O backends behind one small interface. The engine cannot tell them apart.
