//! The memory of one peer: ICE, SRTP contexts, loss repair and reports. Sans-IO.
