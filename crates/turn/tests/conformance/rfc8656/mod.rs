//! RFC 8656: Traversal Using Relays around NAT (TURN).

mod section_10_2;
mod section_11;
mod section_11_5;
mod section_12;
mod section_5;
mod section_7_2;
mod section_7_2_dual;
mod section_7_2_ports;
mod section_8_2;
mod section_9;
