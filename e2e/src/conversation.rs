//! A TCP connection that is kept open while things change around it.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::{Host, attempt::address};

const TIMEOUT: Duration = Duration::from_secs(20);

/// An established connection with a [`Listener`](crate::Listener), which echoes what it gets.
#[derive(Debug)]
pub struct Conversation {
    client: Host,
    stream: BufReader<TcpStream>,
    said: u32,
}

impl Conversation {
    #[track_caller]
    pub(crate) fn open(client: &Host, to: impl ToSocketAddrs + fmt::Debug) -> Self {
        let to = address(to);
        let connected = client.netns().enter(|| -> io::Result<TcpStream> {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.connect_timeout(&to.into(), TIMEOUT)?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            Ok(socket.into())
        });
        let stream = connected.unwrap_or_else(|error| {
            panic!("talking to {to}: {error}\n{}", client.picture());
        });
        let mut stream = BufReader::new(stream);
        // The server introduces itself.
        let mut identity = String::new();
        if let Err(error) = stream.read_line(&mut identity) {
            panic!("{to} says nothing: {error}\n{}", client.picture());
        }
        Self {
            client: client.clone(),
            stream,
            said: 0,
        }
    }

    /// Data still flows, both ways.
    #[track_caller]
    pub fn should_be_alive(&mut self) {
        if let Err(error) = self.exchange() {
            panic!("the connection is dead: {error}\n{}", self.client.picture());
        }
    }

    fn exchange(&mut self) -> io::Result<()> {
        self.said += 1;
        let sent = format!("line {}\n", self.said);
        self.stream.get_mut().write_all(sent.as_bytes())?;
        let mut heard = String::new();
        self.stream.read_line(&mut heard)?;
        if heard == sent {
            Ok(())
        } else {
            Err(io::Error::other(format!("sent {sent:?}, heard {heard:?}")))
        }
    }
}
