//! Imitations of clouds' metadata services, as far as a server asks them: real HTTP at the real address of a namespace.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// A service that answers until the process ends.
pub(crate) struct Service {
    cloud: Arc<Mutex<Cloud>>,
    /// The request lines that came.
    pub(crate) asked: Receiver<String>,
}

/// What a request was.
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

/// Which cloud's, and what it says.
#[derive(Clone, Debug)]
pub(crate) enum Cloud {
    /// Private and public address; further pairs of other interfaces.
    Aws {
        private: &'static str,
        public: &'static str,
        further: Vec<(&'static str, &'static str)>,
    },
    /// One that knows no tokens.
    OpenStack {
        private: &'static str,
        public: &'static str,
    },
    Google {
        private: &'static str,
        public: &'static str,
    },
    Azure {
        private: &'static str,
        public: &'static str,
    },
    AzureLoadBalancer {
        private: &'static str,
        public: &'static str,
    },
    DigitalOcean {
        anchor: &'static str,
        reserved: &'static str,
    },
    Hetzner {
        public: &'static str,
    },
    Oracle {
        private: &'static str,
    },
    Alibaba {
        private: &'static str,
        public: &'static str,
    },
    /// Takes connections and says nothing.
    Hanging,
    /// Says this to everything.
    Babbling(String),
}

impl Service {
    pub(crate) fn start(address: &str, cloud: Cloud) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (sender, asked) = channel();
        let cloud = Arc::new(Mutex::new(cloud));
        let served = cloud.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (cloud, sender) = (served.lock().unwrap().clone(), sender.clone());
                std::thread::spawn(move || serve(stream, &cloud, &sender));
            }
        });
        Service { cloud, asked }
    }

    /// From now on it is another, or says something else.
    pub(crate) fn become_another(&self, cloud: Cloud) {
        *self.cloud.lock().unwrap() = cloud;
    }
}

fn serve(mut stream: TcpStream, cloud: &Cloud, sender: &Sender<String>) {
    let Some(request) = read(&stream) else { return };
    let _ = sender.send(format!("{} {}", request.method, request.path));
    if let Cloud::Hanging = cloud {
        // Until whoever asked has had enough.
        let _ = stream.read(&mut [0; 1]);
        let _ = sender.send("given up".to_owned());
        return;
    }
    let (status, headers, body) = answer(cloud, &request);
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
        body.len()
    );
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let headers = lines.take_while(|line| !line.is_empty());
    let headers = headers.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Request { method, path, headers: headers.collect() })
}

impl Request {
    fn has(&self, name: &str, value: &str) -> bool {
        self.headers.iter().any(|(its, of)| its == name && of == value)
    }

    fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

type Response = (u16, &'static str, String);

fn answer(cloud: &Cloud, request: &Request) -> Response {
    let found = match cloud {
        Cloud::Aws { private, public, further } => aws(request, private, public, further),
        Cloud::OpenStack { private, public } => match request.path.as_str() {
            "/latest/meta-data/local-ipv4" => Some((200, "", (*private).to_owned())),
            "/latest/meta-data/public-ipv4" => Some((200, "", (*public).to_owned())),
            _ => None,
        },
        Cloud::Google { private, public } => google(request, private, public),
        Cloud::Azure { private, public } => azure(request, private, public, None),
        Cloud::AzureLoadBalancer { private, public } => azure(request, private, "", Some(*public)),
        Cloud::DigitalOcean { anchor, reserved } => digital_ocean(request, anchor, reserved),
        Cloud::Hetzner { public } => request.is("GET", "/hetzner/v1/metadata").then(|| {
            let text = format!(
                "availability-zone: fsn1-dc14\nhostname: turn\ninstance-id: 4711\npublic-ipv4: {public}\nregion: eu-central\n"
            );
            (200, "", text)
        }),
        Cloud::Oracle { private } => {
            let known = request.is("GET", "/opc/v2/vnics/") && request.has("authorization", "Bearer Oracle");
            known.then(|| (200, "", format!("[{{\"vnicId\":\"ocid1.vnic\",\"privateIp\":\"{private}\",\"nicIndex\":0}}]")))
        }
        Cloud::Alibaba { private, public } => alibaba(request, private, public),
        Cloud::Hanging => None,
        Cloud::Babbling(text) => Some((200, "metadata-flavor: Google\r\n", text.clone())),
    };
    found.unwrap_or((404, "", "not here".to_owned()))
}

fn aws(
    request: &Request,
    private: &str,
    public: &str,
    further: &[(&'static str, &'static str)],
) -> Option<Response> {
    if request.path == "/latest/api/token" {
        let asked = request.method == "PUT" && request.has("x-aws-ec2-metadata-token-ttl-seconds", "60");
        return Some(if asked { (200, "", "TOKEN".to_owned()) } else { (400, "", String::new()) });
    }
    if request.path.starts_with("/latest/") && !request.has("x-aws-ec2-metadata-token", "TOKEN") {
        return Some((401, "", String::new()));
    }
    let text = match request.path.as_str() {
        "/latest/meta-data/local-ipv4" => private.to_owned(),
        "/latest/meta-data/public-ipv4" => public.to_owned(),
        "/latest/meta-data/network/interfaces/macs/" => "02:aa/".to_owned(),
        "/latest/meta-data/network/interfaces/macs/02:aa/ipv4-associations/" => {
            let all = further.iter().map(|(public, _)| *public).chain([public]);
            all.collect::<Vec<_>>().join("\n")
        }
        path => {
            let of =
                path.strip_prefix("/latest/meta-data/network/interfaces/macs/02:aa/ipv4-associations/")?;
            further
                .iter()
                .find(|(public, _)| *public == of)
                .map_or(private, |(_, private)| private)
                .to_owned()
        }
    };
    Some((200, "", text))
}

fn google(request: &Request, private: &str, public: &str) -> Option<Response> {
    let path = "/computeMetadata/v1/instance/network-interfaces/?recursive=true";
    if !request.path.starts_with("/computeMetadata/") {
        return None;
    }
    if !request.has("metadata-flavor", "Google") {
        return Some((403, "", "Missing Metadata-Flavor:Google header.".to_owned()));
    }
    let body = format!(
        "[{{\"accessConfigs\":[{{\"externalIp\":\"{public}\",\"type\":\"ONE_TO_ONE_NAT\"}}],\"ip\":\"{private}\",\"mac\":\"42:01\"}}]"
    );
    request.is("GET", path).then_some((200, "metadata-flavor: Google\r\n", body))
}

fn azure(request: &Request, private: &str, public: &str, balancer: Option<&str>) -> Option<Response> {
    if !request.path.starts_with("/metadata/instance") && !request.path.starts_with("/metadata/loadbalancer")
    {
        return None;
    }
    if !request.has("metadata", "true") || !request.path.contains("?api-version=20") {
        return Some((400, "", "{\"error\":\"Bad request\"}".to_owned()));
    }
    if request.path.starts_with("/metadata/instance/network?") {
        let body = format!(
            "{{\"interface\":[{{\"ipv4\":{{\"ipAddress\":[{{\"privateIpAddress\":\"{private}\",\"publicIpAddress\":\"{public}\"}}],\
             \"subnet\":[]}},\"ipv6\":{{\"ipAddress\":[]}},\"macAddress\":\"00\"}}]}}"
        );
        return Some((200, "", body));
    }
    let body = format!(
        "{{\"loadbalancer\":{{\"publicIpAddresses\":[{{\"frontendIpAddress\":\"{}\",\"privateIpAddress\":\"{private}\"}}],\
         \"inboundRules\":[],\"outboundRules\":[]}}}}",
        balancer?
    );
    Some((200, "", body))
}

fn digital_ocean(request: &Request, anchor: &str, reserved: &str) -> Option<Response> {
    let body = format!(
        "{{\"droplet_id\":7,\"interfaces\":{{\"public\":[{{\"ipv4\":{{\"ip_address\":\"52.29.0.77\"}},\
         \"anchor_ipv4\":{{\"ip_address\":\"{anchor}\"}}}}]}},\
         \"reserved_ip\":{{\"ipv4\":{{\"active\":true,\"ip_address\":\"{reserved}\"}}}}}}"
    );
    request.is("GET", "/metadata/v1.json").then_some((200, "", body))
}

fn alibaba(request: &Request, private: &str, public: &str) -> Option<Response> {
    if request.is("PUT", "/latest/api/token") {
        let asked = request.has("x-aliyun-ecs-metadata-token-ttl-seconds", "60");
        return Some(if asked { (200, "", "TOKEN".to_owned()) } else { (400, "", String::new()) });
    }
    if !request.has("x-aliyun-ecs-metadata-token", "TOKEN") {
        return Some((403, "", String::new()));
    }
    match request.path.as_str() {
        "/latest/meta-data/private-ipv4" => Some((200, "", private.to_owned())),
        "/latest/meta-data/eipv4" => Some((200, "", public.to_owned())),
        _ => None,
    }
}
