//! What monitoring systems and load balancers are told, and where.

use std::net::IpAddr;

/// The HTTP server for those who look after this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitoringSettings {
    /// Whether metrics are served.
    pub prometheus: bool,
    /// Their port.
    pub prometheus_port: u16,
    /// Their address; `None` for every address of this machine.
    pub prometheus_address: Option<IpAddr>,
    /// Their path, which begins with a slash.
    pub prometheus_path: String,
    /// Whether traffic is counted by user.
    pub username_labels: bool,
    /// Whether they are served over TLS.
    pub prometheus_tls: bool,
    /// The certificate for that; `None` for the one that TURN clients see.
    pub prometheus_certificate: Option<String>,
    /// Its key, likewise.
    pub prometheus_key: Option<String>,
    /// The name that goes with the password.
    pub prometheus_user: String,
    /// The file that holds the password; `None` where none is asked for.
    pub prometheus_password_file: Option<String>,
    /// The port of the health pages alone; `None` for not apart from the metrics.
    pub health_port: Option<u16>,
    /// Their address.
    pub health_address: IpAddr,
}

impl MonitoringSettings {
    /// Whether there is anything to serve.
    pub fn is_served(&self) -> bool {
        self.prometheus || self.health_port.is_some()
    }
}

impl Default for MonitoringSettings {
    fn default() -> Self {
        MonitoringSettings {
            prometheus: false,
            prometheus_port: 9641,
            prometheus_address: None,
            prometheus_path: "/metrics".to_owned(),
            username_labels: false,
            prometheus_tls: false,
            prometheus_certificate: None,
            prometheus_key: None,
            prometheus_user: "prometheus".to_owned(),
            prometheus_password_file: None,
            health_port: None,
            health_address: IpAddr::from([127, 0, 0, 1]),
        }
    }
}
