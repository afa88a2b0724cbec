//! RFC 8489: Session Traversal Utilities for NAT (STUN).

mod section_10;
mod section_12;
mod section_14;
mod section_5;
mod section_6_3;
mod section_9_2;
mod section_9_2_algorithms;
mod section_9_2_strings;
mod section_9_2_userhash;
