//! One try of a client to reach a server, and what is expected of it.

use std::{
    cell::RefCell,
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::{Host, Outcome, dns, soon};

/// How long an answer may take that is expected to come: emulated machines are slow.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait for an answer that is expected not to come. Long enough for a lost SYN to be repeated.
const GIVING_UP: Duration = Duration::from_millis(1500);

/// What carries an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A connection.
    Tcp,
    /// A datagram and its answer.
    Udp,
    /// A question to a DNS server by UDP: which text [`dns::NAME`] has.
    Dns,
    /// A connection to a web server, and a request for its first page.
    Http,
}

/// A try that is made by the expectation put on it: the expectation knows how long to wait.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until something is expected"]
pub struct Attempt<'host> {
    client: &'host Host,
    transport: Transport,
    device: Option<String>,
    from: Option<IpAddr>,
    from_port: u16,
    to: SocketAddr,
}

impl<'host> Attempt<'host> {
    #[track_caller]
    pub(crate) fn new(
        client: &'host Host,
        transport: Transport,
        to: impl ToSocketAddrs + fmt::Debug,
    ) -> Self {
        Self {
            client,
            transport,
            device: None,
            from: None,
            from_port: 0,
            to: address(to),
        }
    }

    /// Sends by a socket that is bound to a device or VRF (`SO_BINDTODEVICE`), as `ip vrf exec` has it.
    pub fn bound_to(self, device: &str) -> Self {
        Self {
            device: Some(device.to_owned()),
            ..self
        }
    }

    /// Sends from one of the client's own addresses, instead of the one that the kernel chooses.
    pub fn from(self, source: IpAddr) -> Self {
        Self {
            from: Some(source),
            ..self
        }
    }

    /// Sends from a port, instead of one that the kernel chooses.
    pub fn from_port(self, port: u16) -> Self {
        Self {
            from_port: port,
            ..self
        }
    }

    /// Makes the attempt and says what happened.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.wait(TIMEOUT)
    }

    /// As [`Attempt::outcome`], for those who know that most answers come at once.
    #[must_use]
    pub fn outcome_within(&self, timeout: Duration) -> Outcome {
        self.wait(timeout)
    }

    /// The server named `identity` answers.
    #[track_caller]
    pub fn should_reach(&self, identity: &str) {
        self.expect(&Outcome::Reached(identity.to_owned()), TIMEOUT);
    }

    /// The client sees a closed port.
    #[track_caller]
    pub fn should_be_refused(&self) {
        self.expect(&Outcome::Refused, TIMEOUT);
    }

    /// The client is connected, as far as it can tell, and the connection is reset.
    #[track_caller]
    pub fn should_be_reset(&self) {
        self.expect(&Outcome::Reset, TIMEOUT);
    }

    /// Nothing comes back.
    #[track_caller]
    pub fn should_time_out(&self) {
        self.expect(&Outcome::TimedOut, GIVING_UP);
    }

    /// There is no route.
    #[track_caller]
    pub fn should_be_unreachable(&self) {
        self.expect(&Outcome::Unreachable, TIMEOUT);
    }

    /// A server answers that introduces itself with a line beginning so.
    #[track_caller]
    pub fn should_read(&self, beginning: &str) {
        match self.wait(TIMEOUT) {
            Outcome::Reached(line) if line.starts_with(beginning) => {}
            other => self.fail(&format!("should read {beginning:?}…"), &other),
        }
    }

    /// As [`Attempt::should_read`], now or once the server has started.
    #[track_caller]
    pub fn should_soon_read(&self, beginning: &str) {
        self.expect_soon(
            &format!("reached {beginning:?}…"),
            |outcome| matches!(outcome, Outcome::Reached(line) if line.starts_with(beginning)),
        );
    }

    /// The server named `identity` answers, now or once a change has come into force.
    #[track_caller]
    pub fn should_soon_reach(&self, identity: &str) {
        let wanted = Outcome::Reached(identity.to_owned());
        self.expect_soon(&wanted.to_string(), |outcome| *outcome == wanted);
    }

    /// There is no route, now or once a change has come into force.
    #[track_caller]
    pub fn should_soon_be_unreachable(&self) {
        let wanted = Outcome::Unreachable;
        self.expect_soon(&wanted.to_string(), |outcome| *outcome == wanted);
    }

    /// The client sees a closed port, now or once a change has come into force.
    #[track_caller]
    pub fn should_soon_be_refused(&self) {
        let wanted = Outcome::Refused;
        self.expect_soon(&wanted.to_string(), |outcome| *outcome == wanted);
    }

    #[track_caller]
    fn expect(&self, wanted: &Outcome, timeout: Duration) {
        let outcome = self.wait(timeout);
        if outcome != *wanted {
            self.fail(&format!("should have been: {wanted}"), &outcome);
        }
    }

    #[track_caller]
    fn expect_soon(&self, wanted: &str, as_wanted: impl Fn(&Outcome) -> bool) {
        let last = RefCell::new(String::new());
        let what = fmt::from_fn(|f| {
            let (last, picture) = (last.borrow(), self.client.picture());
            write!(f, "{self} {wanted}; the last {last}\n{picture}")
        });
        soon(what, || {
            let outcome = self.wait(GIVING_UP);
            let met = as_wanted(&outcome);
            last.replace(outcome.to_string());
            met
        });
    }

    #[track_caller]
    fn fail(&self, expectation: &str, outcome: &Outcome) -> ! {
        panic!("{self} {outcome}; {expectation}\n{}", self.client.picture());
    }

    fn wait(&self, timeout: Duration) -> Outcome {
        let answer = match self.transport {
            Transport::Tcp => self.read_line(timeout),
            Transport::Udp => self
                .exchange(timeout, b"who is there?")
                .map(|answer| String::from_utf8_lossy(&answer).into_owned()),
            Transport::Dns => self
                .exchange(timeout, &dns::question())
                .and_then(|answer| dns::answer(&answer)),
            Transport::Http => self.get_page(timeout),
        };
        answer.map_or_else(|error| Outcome::of(&error), Outcome::Reached)
    }

    fn read_line(&self, timeout: Duration) -> io::Result<String> {
        let socket = self.socket(Type::STREAM)?;
        socket.connect_timeout(&self.to.into(), timeout)?;
        socket.set_read_timeout(Some(timeout))?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn get_page(&self, timeout: Duration) -> io::Result<String> {
        let mut socket = self.socket(Type::STREAM)?;
        socket.connect_timeout(&self.to.into(), timeout)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let page = answer.split_once("\r\n\r\n").map(|(_, page)| page);
        Ok(page.unwrap_or(&answer).trim_end().to_owned())
    }

    fn exchange(&self, timeout: Duration, question: &[u8]) -> io::Result<Vec<u8>> {
        let socket: UdpSocket = self.socket(Type::DGRAM)?.into();
        // A connected socket hears of ICMP errors, and ignores answers from any other address.
        socket.connect(self.to)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.send(question)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        Ok(answer[..length].to_vec())
    }

    fn socket(&self, kind: Type) -> io::Result<Socket> {
        let domain = Domain::for_address(self.to);
        let socket = self
            .client
            .netns()
            .enter(|| Socket::new(domain, kind, None))?;
        if let Some(device) = &self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        if self.from.is_some() || self.from_port != 0 {
            // A process that some other test is starting may hold the last attempt's socket until it runs.
            socket.set_reuse_address(true)?;
            let any: IpAddr = match self.to {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            socket.bind(&SocketAddr::new(self.from.unwrap_or(any), self.from_port).into())?;
        }
        Ok(socket)
    }
}

impl fmt::Display for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            transport,
            device,
            from,
            from_port: _,
            to,
        } = self;
        write!(f, "{transport:?} from the {client}")?;
        if let Some(device) = device {
            write!(f, ", bound to {device},")?;
        }
        if let Some(from) = from {
            write!(f, " ({from})")?;
        }
        write!(f, " to {to}")
    }
}

/// The one address that a test has written down.
#[track_caller]
pub(crate) fn address(written: impl ToSocketAddrs + fmt::Debug) -> SocketAddr {
    let found = written
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next());
    found.unwrap_or_else(|| panic!("{written:?} is no address and port"))
}
