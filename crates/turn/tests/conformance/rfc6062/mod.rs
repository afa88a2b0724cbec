//! RFC 6062: TCP allocations.

mod section_5_1;
mod section_5_2;
mod section_5_3;
mod section_5_4;
mod section_5_5;
